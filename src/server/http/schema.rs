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
    /// The verdicts.
    VerdictWord = "Verdict", Verdict::ALL.map(Verdict::as_str);
    /// How a verdict came to its caller.
    SourceWord = "Source", [Source::Provider, Source::Shared, Source::Cache].map(Source::as_str);
    /// What an attempt came to.
    OutcomeWord = "Outcome", Outcome::ALL.iter().map(|outcome| outcome.as_str());
    /// Whether a call is charged for.
    BilledWord = "Billed", Billed::ALL.map(Billed::as_str);
    /// How much is known of a region.
    RegionStatusWord = "RegionStatus",
        [RegionStatus::Exact, RegionStatus::Partial, RegionStatus::Unknown].map(RegionStatus::as_str);
    /// As the number's sequence tells it.
    SexWord = "Sex", [Sex::Female, Sex::Male].map(Sex::as_str);
    /// What a person should know before drawing conclusions.
    WarningWord = "Warning",
        [CONVERTED, ALTERNATE_SPELLING].into_iter().chain(Warning::ALL.iter().map(|warning| warning.as_str()));
}
