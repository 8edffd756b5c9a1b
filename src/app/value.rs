//! Values of Socket.IO: what JSON has, and bytes. As [`rmpv::Value`], because a JSON value cannot hold bytes.

use std::fmt;

use rmpv::Value;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

/// The arguments of an event or of its acknowledgement: any number of them.
///
/// socketioxide takes a type for one argument unless serde calls it a tuple, so this calls itself one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args(pub Vec<Value>);

impl Args {
    /// The argument at this place, where it is text.
    pub fn text(&self, at: usize) -> Option<&str> {
        self.0.get(at)?.as_str()
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Args;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Args, S::Error> {
                let mut args = Vec::new();
                while let Some(arg) = seq.next_element()? {
                    args.push(arg);
                }
                Ok(Args(args))
            }
        }
        // The length does not matter: JSON tells where the arguments end.
        deserializer.deserialize_tuple(0, Any)
    }
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for arg in &self.0 {
            tuple.serialize_element(arg)?;
        }
        tuple.end()
    }
}

/// The field of this name, where the value is a map that has it.
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_map()?;
    fields.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// A map with these fields.
pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
