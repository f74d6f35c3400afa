//! The keys of a `[[bucket]]` that say which holders and wrapping keys its objects have.
//! It must not know how a rule is applied.
//! It promises that each holder of a rule has a wrapping key, and wraps or unwraps once.

#[cfg(test)]
mod tests;

use super::error::{Refusal, Result};
use super::holder::holder_named;
use super::section::Section;
use super::value;
use crate::envelope::native::RecoveryPublicKey;
use crate::keyring::{HolderSettings, KeyRule, RequiredHolders};

/// Reads the holders and keys of one rule.
pub(super) fn read(section: &Section<'_>, holders: &[HolderSettings]) -> Result<KeyRule> {
    let wrapping = read_wrapping(section, holders)?;
    let unwrapping = read_unwrapping(section, holders, &wrapping)?;
    let required = [("all", RequiredHolders::All), ("first", RequiredHolders::First)];
    let required = section.choice("holders_required", &required)?;
    if wrapping.len() == 1 {
        section.absent("holders_required", "has no effect with one holder")?;
    }
    let rule = KeyRule {
        wrapping,
        unwrapping,
        required: required.unwrap_or_default(),
        recovery: read_recovery(section)?,
        key_id: section.parsed("key_id", "alias/s3veil", value::key_id)?,
        allowed_key_ids: section.list("allowed_key_ids", "alias/s3veil", value::key_id)?.unwrap_or_default(),
    };
    require_keys(section, &rule, holders)?;
    Ok(rule)
}

/// The places of the holders that wrap. A rule may leave them out where there is only one that can.
fn read_wrapping(section: &Section<'_>, holders: &[HolderSettings]) -> Result<Vec<usize>> {
    let mut originals = (0..holders.len()).filter(|place| holders[*place].replica_of.is_none());
    let Some(wrapping) = read_places(section, "holders", holders)? else {
        return match (originals.next(), originals.next()) {
            (Some(only), None) => Ok(vec![only]),
            _ => {
                let fix =
                    "write the names of the holders that wrap its data keys, the one that makes them first";
                Err(section.refuse("holders", "is missing, and there are several [[holder]]", fix))
            }
        };
    };
    if let Some(replica) = wrapping.iter().find(|place| holders[**place].replica_of.is_some()) {
        let problem = format!("names {:?}, which is a replica and wraps nothing", holders[*replica].name);
        let fix = "remove it: a replica opens the objects of its original without being named";
        return Err(section.refuse("holders", &problem, fix));
    }
    Ok(wrapping)
}

/// The places of the holders that only unwrap.
fn read_unwrapping(
    section: &Section<'_>,
    holders: &[HolderSettings],
    wrapping: &[usize],
) -> Result<Vec<usize>> {
    let unwrapping = read_places(section, "allowed_holders", holders)?.unwrap_or_default();
    if let Some(both) = unwrapping.iter().find(|place| wrapping.contains(place)) {
        let problem = format!("names {:?}, which wraps and unwraps already", holders[*both].name);
        return Err(section.refuse("allowed_holders", &problem, "remove it here, or from holders"));
    }
    Ok(unwrapping)
}

fn read_places(section: &Section<'_>, word: &str, holders: &[HolderSettings]) -> Result<Option<Vec<usize>>> {
    let places = section.list(word, &holders[0].name, |name| holder_named(name, holders))?;
    if let Some(places) = &places
        && let Some(twice) = (1..places.len()).find(|at| places[..*at].contains(&places[*at]))
    {
        let problem = format!("names {:?} twice", holders[places[twice]].name);
        return Err(section.refuse(word, &problem, "remove one of them"));
    }
    Ok(places)
}

/// The public keys in the files that `recovery` names.
fn read_recovery(section: &Section<'_>) -> Result<Vec<RecoveryPublicKey>> {
    let fix = "write the name of a file that `s3veil keygen --recovery` made, which ends in .pub.pem";
    let keys = section.list("recovery", "ops-2027.pub.pem", |name| {
        let file = section.source.resolve(name);
        section.source.files.borrow_mut().push(file.clone());
        let refused = |problem: &dyn std::fmt::Display| {
            Refusal::new(format!("names {}, which {problem}", file.display()), fix)
        };
        let text = std::fs::read(&file).map_err(|error| refused(&format!("can't be read: {error}")))?;
        RecoveryPublicKey::from_pem(&text).map_err(|error| refused(&error))
    })?;
    let keys = keys.unwrap_or_default();
    if let Some(twice) = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at])) {
        let problem = format!("names one key twice, at place {}", twice + 1);
        return Err(section.refuse("recovery", &problem, "remove one of them"));
    }
    Ok(keys)
}

/// Refuses a rule if one of its holders has no key. Only the first holder's key may be named by the rule.
fn require_keys(section: &Section<'_>, rule: &KeyRule, holders: &[HolderSettings]) -> Result<()> {
    let first = rule.first();
    for place in rule.wrapping.iter().chain(&rule.unwrapping).copied() {
        let HolderSettings { name, provider, .. } = &holders[place];
        if provider.names_key() || (place == first && rule.key_id.is_some()) {
            continue;
        }
        let is_single = holders.len() == 1 && name == super::holder::SINGLE;
        return Err(if is_single {
            let fix = "write key_id here, or in [keyring] for every bucket";
            section.refuse("key_id", "is missing, and `keyring.key_id` too", fix)
        } else if place == first {
            let fix = format!("write key_id here, or in the [[holder]] {name:?} for every bucket");
            section.refuse("key_id", &format!("is missing, and that of the holder {name:?} too"), fix)
        } else {
            let fix = format!("write key_id in the [[holder]] {name:?}");
            section.refuse("holders", &format!("names {name:?}, which has no key_id"), fix)
        });
    }
    Ok(())
}
