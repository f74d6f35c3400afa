//! Changes of resources by tests.

use std::ops::DerefMut;

use super::Resources;
use crate::object;

impl DerefMut for Resources {
    fn deref_mut(&mut self) -> &mut object::Resources {
        &mut self.object
    }
}
