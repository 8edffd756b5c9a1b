//! The CORS header lines that were seen with open packets. All sessions of an application have the same ones but for the origin
//! that is repeated in them, so each is kept once.
//!
//! Must not: grow with the number of sessions, read what it keeps.

use std::sync::Arc;

/// Different texts that are kept. An application with more origins than these has clients that must wait for their own
/// time-out when an instance is gone, because they get no CORS headers; everything else works.
pub(super) const TEXTS_MAX: usize = 64;

/// A longer text is not kept, in bytes. The five `Access-Control-*` lines that an Engine.IO answer can have are about 200.
pub(super) const TEXT_MAX: usize = 512;

/// Which text; [`Which::NONE`] for those who have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which(u8);

/// Texts, each with the number of those who have it.
#[derive(Debug, Default)]
pub(super) struct Interned {
    texts: Vec<(Arc<[u8]>, u32)>,
}

impl Which {
    pub(super) const NONE: Self = Self(u8::MAX);
}

const _: () = assert!(TEXTS_MAX <= u8::MAX as usize);

impl Interned {
    /// Keeps `text` for one more, or nothing when it is too long or there are too many others.
    pub(super) fn take(&mut self, text: &[u8]) -> Which {
        if text.len() > TEXT_MAX {
            return Which::NONE;
        }
        let known = self.texts.iter().position(|(known, _)| **known == *text);
        let unused = || self.texts.iter().position(|(_, users)| *users == 0);
        let at = match known.or_else(unused) {
            Some(at) => at,
            None if self.texts.len() < TEXTS_MAX => {
                self.texts.push((Arc::default(), 0));
                self.texts.len() - 1
            }
            None => return Which::NONE,
        };
        let (kept, users) = &mut self.texts[at];
        if known.is_none() {
            *kept = text.into();
        }
        *users += 1;
        u8::try_from(at).map_or(Which::NONE, Which)
    }

    /// One who had it is gone.
    pub(super) fn give_back(&mut self, which: Which) {
        if let Some((_, users)) = self.texts.get_mut(usize::from(which.0)) {
            *users -= 1;
        }
    }

    pub(super) fn get(&self, which: Which) -> Option<&Arc<[u8]>> {
        self.texts.get(usize::from(which.0)).map(|(text, _)| text)
    }
}
