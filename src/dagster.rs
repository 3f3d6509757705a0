//! The client of a Dagster webserver's GraphQL endpoint.
