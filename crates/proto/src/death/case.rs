//! stub
/// stub
pub fn reports_needed(_d: u16) -> usize { 2 }
pub(crate) struct Case; pub(crate) struct CaseState;
