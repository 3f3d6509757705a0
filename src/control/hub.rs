//! stub
/// stub
#[derive(Debug)]
pub struct Hub;
/// stub
#[derive(Debug)]
pub struct HubOptions;
