//! Conversions from our views to the typed values of `rsip`.
