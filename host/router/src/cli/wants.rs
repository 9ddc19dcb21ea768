//! What a policy wants of the operator, as `policy inspect` shows it.

use patchbay_policy::{Capability, Want};
use serde_json::{Value, json};

/// One line of the configuration per capability, with the functions that need it.
pub(super) fn lines(wants: &[Want]) -> Vec<String> {
    if wants.is_empty() {
        return vec!["grants  none needed".to_owned()];
    }
    wants
        .iter()
        .map(|want| {
            let functions: Vec<&str> = want.imports.iter().map(|import| short(import)).collect();
            let when = match want.capability {
                Capability::WriteHeaders => ", where that key is set",
                _ => "",
            };
            format!(
                "grants  {}{when} ({})",
                want.capability.line(),
                functions.join(" ")
            )
        })
        .collect()
}

/// The same for a program.
pub(super) fn json(wants: &[Want]) -> Value {
    wants
        .iter()
        .map(|want| {
            json!({
                "capability": want.capability.key(),
                "imports": want.imports,
                "grant": want.capability.line(),
            })
        })
        .collect()
}

/// Interface and function: `http#fetch`. Those of another package have its name.
fn short(import: &str) -> &str {
    import.strip_prefix("patchbay:policy/").unwrap_or(import)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_is_shown_with_the_line_that_grants_it() {
        let want = Want {
            capability: Capability::SaveLocation,
            imports: vec!["patchbay:policy/location@0.1.0#save-contact".to_owned()],
        };
        assert_eq!(
            lines(std::slice::from_ref(&want)),
            ["grants  save_location = true (location@0.1.0#save-contact)"]
        );
        assert_eq!(
            json(&[want]).to_string(),
            r#"[{"capability":"save_location","grant":"save_location = true","imports":["patchbay:policy/location@0.1.0#save-contact"]}]"#
        );
        assert_eq!(lines(&[]), ["grants  none needed"]);
    }
}
