//! The half of this grammar that AI Core is spoken to in, in parts: [`encode`] writes what a request says, [`decode`] reads
//! replies. Who speaks it whole puts the parts together, since each deployment has its own place for them.

pub mod decode;
pub mod encode;
