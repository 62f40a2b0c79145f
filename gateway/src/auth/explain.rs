//! What a token says beside what the configuration wants, for an operator who has one that is refused. Pure.

use serde_json::Value;

use super::{Authenticator, compact::Compact};

impl Authenticator {
    /// Line by line, for people. Nothing of it is proven; strings of the token are quoted and escaped. Empty where it is
    /// not even a token.
    pub fn explain(&self, token: &str, now_s: u64) -> Vec<String> {
        let Ok(token) = Compact::parse(token) else { return Vec::new() };
        let key = token.key_id.as_ref().map_or_else(|| "no kid".to_owned(), |id| format!("kid {id:?}"));
        let mut lines = vec![format!("header: {:?}, {key}", token.algorithm)];
        let Ok(claims) = serde_json::from_slice::<Value>(&token.payload) else { return lines };

        lines.push(format!("iss: {}", shown(&claims, "iss")));
        let issuer = claims["iss"].as_str();
        for made in self.issuers.iter().filter(|made| made.made(issuer)) {
            let keys: Vec<_> = made.read_keys(|keys| keys.describe().collect());
            let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            lines.push(format!("  is of {}, whose keys are: {keys}", made.name));
            lines.push(format!("  whose tokens are for: {:?}", made.audiences));
            if let Err(refusal) = self.rules.try_grant(&token.payload, &made.audiences, now_s)
                && let Some(claim) = refusal.claim
            {
                lines.push(format!("  whose tokens can't have: {claim} = {}", shown(&claims, claim)));
            }
        }
        if !self.issuers.iter().any(|made| made.made(issuer)) {
            let known: Vec<_> = self.issuers.iter().filter_map(|made| made.issuer.as_deref()).collect();
            lines.push(format!("  is none of {known:?}"));
        }
        lines.push(format!("aud: {}", shown(&claims, "aud")));
        for claim in ["nbf", "exp"] {
            lines.push(format!("{claim}: {}{}", shown(&claims, claim), distance(&claims[claim], now_s)));
        }
        lines
    }
}

/// A claim as JSON, cut where it is long.
fn shown(claims: &Value, claim: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    let Some(value) = claims.get(claim) else { return "is not there".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    text.chars().take(SHOWN_CHARS).chain("...".chars()).collect()
}

fn distance(time: &Value, now_s: u64) -> String {
    match time.as_u64() {
        Some(time_s) if time_s <= now_s => format!(", {} s ago", now_s - time_s),
        Some(time_s) => format!(", in {} s", time_s - now_s),
        None => String::new(),
    }
}
