//! The ACL of an object, as the headers that give a new object the same grants, and whether the objects of a
//! bucket have ACLs.

use super::XmlError;
use super::reader::{Element, Limits, read};

/// The longest ACL that is read: S3 has at most 100 grants.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html>
pub const MAX_ACL_DOCUMENT: usize = 128 << 10;

/// The permissions of grants on objects, and the header for each.
const PERMISSIONS: [(&str, &str); 4] = [
    ("FULL_CONTROL", "x-amz-grant-full-control"),
    ("READ", "x-amz-grant-read"),
    ("READ_ACP", "x-amz-grant-read-acp"),
    ("WRITE_ACP", "x-amz-grant-write-acp"),
];

/// Reads `<AccessControlPolicy>` and returns the headers with which a new object has these grants: names and
/// values. None for the grants that every object has without asking: its owner's full control.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html>
///
/// # Errors
/// [`XmlError`] for another document, an unknown permission, or a grantee that is no account, group or
/// address.
pub fn grants_to_headers(document: &[u8]) -> Result<Vec<(&'static str, String)>, XmlError> {
    let root = read(document, Limits { bytes: MAX_ACL_DOCUMENT, elements: 2_000 })?;
    if root.name != "AccessControlPolicy" {
        return Err(XmlError::Unexpected);
    }
    let owner = child(&root, "Owner").and_then(|owner| owner.text_of("ID")).unwrap_or_default();
    let list = child(&root, "AccessControlList").ok_or(XmlError::Unexpected)?;
    let mut headers: Vec<(&'static str, String)> = Vec::new();
    let mut is_default = true;
    for grant in &list.children {
        let permission = grant.text_of("Permission").ok_or(XmlError::Unexpected)?;
        let known = PERMISSIONS.iter().find(|(name, _)| *name == permission);
        let (_, header) = known.ok_or(XmlError::Unexpected)?;
        let grantee = child(grant, "Grantee").ok_or(XmlError::Unexpected)?;
        is_default &= permission == "FULL_CONTROL" && grantee.text_of("ID") == Some(owner);
        let grantee = written(grantee)?;
        match headers.iter_mut().find(|(name, _)| name == header) {
            Some((_, grantees)) => grantees.extend([", ", &grantee]),
            None => headers.push((header, grantee)),
        }
    }
    Ok(if is_default { Vec::new() } else { headers })
}

/// The longest `<OwnershipControls>` that is read: it has one rule.
pub const MAX_OWNERSHIP_DOCUMENT: usize = 4 << 10;

/// Whether `<OwnershipControls>` of a bucket disable ACLs: each of its objects then has the grant of its
/// owner alone, and requests for an ACL say so.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>
///
/// # Errors
/// [`XmlError`] for another document.
pub fn disables_acls(document: &[u8]) -> Result<bool, XmlError> {
    let root = read(document, Limits { bytes: MAX_OWNERSHIP_DOCUMENT, elements: 20 })?;
    if root.name != "OwnershipControls" {
        return Err(XmlError::Unexpected);
    }
    let rules = root.children.iter().filter(|rule| rule.name == "Rule");
    let mut ownership = rules.filter_map(|rule| rule.text_of("ObjectOwnership"));
    Ok(ownership.next() == Some("BucketOwnerEnforced") && ownership.next().is_none())
}

/// A grantee as the headers spell it.
fn written(grantee: &Element) -> Result<String, XmlError> {
    let kinds = [("ID", "id"), ("URI", "uri"), ("EmailAddress", "emailAddress")];
    let found = kinds.into_iter().find_map(|(element, name)| Some((name, grantee.text_of(element)?)));
    let (name, value) = found.ok_or(XmlError::Unexpected)?;
    let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if is_plain && !value.is_empty() { Ok(format!("{name}=\"{value}\"")) } else { Err(XmlError::Unexpected) }
}

fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    element.children.iter().find(|child| child.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(grants: &str) -> String {
        format!(
            "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>me</ID></Owner>\
             <AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
        )
    }

    fn grant(grantee: &str, permission: &str) -> String {
        let space = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"";
        format!("<Grant><Grantee {space}>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
    }

    #[test]
    fn the_owners_full_control_is_what_every_object_has() {
        let own = grant("<ID>me</ID><DisplayName>x</DisplayName>", "FULL_CONTROL");
        assert_eq!(grants_to_headers(acl(&own).as_bytes()), Ok(Vec::new()));
        assert_eq!(grants_to_headers(acl("").as_bytes()), Ok(Vec::new()));
    }

    #[test]
    fn only_enforced_ownership_disables_acls() {
        let controls = |rules: &str| format!("<OwnershipControls>{rules}</OwnershipControls>");
        let rule = |name: &str| format!("<Rule><ObjectOwnership>{name}</ObjectOwnership></Rule>");
        let enforced = rule("BucketOwnerEnforced");
        for (document, expected) in [
            (controls(&enforced), Ok(true)),
            (controls(&rule("BucketOwnerPreferred")), Ok(false)),
            (controls(&(enforced.clone() + &rule("ObjectWriter"))), Ok(false)),
            (controls(""), Ok(false)),
            (format!("<Other>{enforced}</Other>"), Err(XmlError::Unexpected)),
        ] {
            assert_eq!(disables_acls(document.as_bytes()), expected, "{document}");
        }
    }

    #[test]
    fn all_grants_become_headers_if_one_is_not_the_owners() {
        let grants = [
            grant("<ID>me</ID>", "FULL_CONTROL"),
            grant("<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>", "READ"),
            grant("<ID>other</ID>", "READ"),
            grant("<ID>other</ID>", "WRITE_ACP"),
        ];
        let expected = [
            ("x-amz-grant-full-control", "id=\"me\""),
            ("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\", id=\"other\""),
            ("x-amz-grant-write-acp", "id=\"other\""),
        ];
        let headers = grants_to_headers(acl(&grants.concat()).as_bytes()).unwrap();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_grant_that_is_not_understood_is_not_left_out() {
        for grants in [
            grant("<ID>me</ID>", "WRITE"),
            grant("<ID></ID>", "READ"),
            grant("<ID>a\"b</ID>", "READ"),
            grant("<DisplayName>x</DisplayName>", "READ"),
            "<Grant><Permission>READ</Permission></Grant>".to_owned(),
        ] {
            assert_eq!(grants_to_headers(acl(&grants).as_bytes()), Err(XmlError::Unexpected), "{grants}");
        }
        assert!(grants_to_headers(b"<Tagging/>").is_err() && grants_to_headers(b"").is_err());
    }
}
