//! The elements of a list header, the last one first.

use super::{HOPS_MAX, forwarded};
use crate::config::model::ClientIpHeader;

/// Shows the elements of all fields to `take`, from the right, trimmed, without the empty ones, until it returns `false` or
/// [`HOPS_MAX`] were shown.
pub(super) fn from_the_right<'v>(
    header: ClientIpHeader,
    fields: impl DoubleEndedIterator<Item = &'v [u8]>,
    mut take: impl FnMut(&'v [u8]) -> bool,
) {
    let mut left = HOPS_MAX;
    let mut take = |element: &'v [u8]| {
        left -= 1;
        take(element) && left > 0
    };
    for field in fields.rev() {
        let more = match header {
            ClientIpHeader::XForwardedFor => {
                let elements = field.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                elements.filter(|element| !element.is_empty()).all(&mut take)
            }
            ClientIpHeader::Forwarded => Last::of(field).newest_first().all(&mut take),
        };
        if !more {
            return;
        }
    }
}

/// The last elements of one `Forwarded` field: where a comma is inside quotes can only be told from the left.
struct Last<'v> {
    ring: [&'v [u8]; HOPS_MAX],
    seen: usize,
}

impl<'v> Last<'v> {
    fn of(mut field: &'v [u8]) -> Self {
        let mut last = Self { ring: [&[]; HOPS_MAX], seen: 0 };
        while !field.is_empty() {
            let (element, rest) = forwarded::split_at_unquoted(field, b',');
            field = rest;
            let element = element.trim_ascii();
            if !element.is_empty() {
                last.ring[last.seen % HOPS_MAX] = element;
                last.seen += 1;
            }
        }
        last
    }

    fn newest_first(&self) -> impl Iterator<Item = &'v [u8]> {
        let oldest = self.seen.saturating_sub(HOPS_MAX);
        (oldest..self.seen).rev().map(|index| self.ring[index % HOPS_MAX])
    }
}
