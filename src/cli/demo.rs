//! stub
mod ports;
mod state;
mod supervisor;
/// stub
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {}
/// stub
pub fn run(_: &DemoArgs) -> Result<std::process::ExitCode, std::io::Error> {
    Ok(std::process::ExitCode::SUCCESS)
}
