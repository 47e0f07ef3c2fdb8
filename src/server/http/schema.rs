//! The string enumerations in the API documents, for `openapi.yaml`.
//!
//! Invariant: each set is derived from the enum that is serialized, so no word is written twice.

use std::borrow::Cow;

use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::id_number::Sex;
use crate::domain::money::Billed;
use crate::domain::name::Warning;
use crate::domain::outcome::Outcome;
use crate::domain::region::RegionStatus;
use crate::domain::verdict::Verdict;
use crate::verify::Source;

/// The 15-digit number was converted to 18 digits.
pub const CONVERTED: &str = "converted_15_digit";
/// The name also has another spelling, which might match.
pub const ALTERNATE_SPELLING: &str = "alternate_spelling_possible";

macro_rules! words {
    ($($(#[$doc:meta])* $word:ident = $name:literal, $all:expr;)*) => {$(
        $(#[$doc])*
        pub struct $word;

        impl PartialSchema for $word {
            fn schema() -> RefOr<Schema> {
                let words = $all;
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $word {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

words! {
    VerdictWord = "Verdict", Verdict::ALL.map(Verdict::as_str);
    /// Where the verdict came from.
    SourceWord = "Source", [Source::Provider, Source::Shared, Source::Cache].map(Source::as_str);
    /// How an attempt ended.
    OutcomeWord = "Outcome", Outcome::ALL.iter().map(|outcome| outcome.as_str());
    BilledWord = "Billed", Billed::ALL.map(Billed::as_str);
    /// How precisely the region of an ID number is known.
    RegionStatusWord = "RegionStatus",
        [RegionStatus::Exact, RegionStatus::Partial, RegionStatus::Unknown].map(RegionStatus::as_str);
    /// Derived from the sequence digits of the ID number.
    SexWord = "Sex", [Sex::Female, Sex::Male].map(Sex::as_str);
    /// Reasons to interpret the verdict with care.
    WarningWord = "Warning",
        [CONVERTED, ALTERNATE_SPELLING].into_iter().chain(Warning::ALL.iter().map(|warning| warning.as_str()));
}
