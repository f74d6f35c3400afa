//! The keyring's settings: the holders of wrapping keys, the limits of the caches, and the reuse of data
//! keys. They must not know how a configuration file spells them. Their defaults are the documented ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "aws")]
use aws_credential_types::Credentials;
use http::Uri;

#[cfg(any(feature = "aws", feature = "gcp-kms"))]
use super::KeyId;

/// The keyring's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The holders of wrapping keys, which rules name by their places here. Never empty.
    pub holders: Vec<HolderSettings>,
    /// Limits of the data keys in memory.
    pub cache: CacheSettings,
    /// Whether objects share data keys.
    pub reuse: Reuse,
}

/// One holder of wrapping keys.
#[derive(Debug, Clone, PartialEq)]
pub struct HolderSettings {
    /// Unique name, for messages and metrics.
    pub name: String,
    /// The service or file that has the keys.
    pub provider: Provider,
    /// The place of the holder whose blobs this one opens, too: its key is a replica of that one's key, such
    /// as a multi-Region key of AWS KMS. A replica wraps nothing.
    /// <https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html>
    pub replica_of: Option<usize>,
}

/// A service or file that has wrapping keys, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider {
    /// AWS KMS, or a service with its API.
    #[cfg(feature = "aws")]
    AwsKms(AwsKms),
    /// Wrapping keys in a file of this machine.
    Local(Local),
    /// The Transit engine of OpenBao or HashiCorp Vault.
    Vault(Vault),
    /// Wrapping keys in a PKCS#11 token.
    #[cfg(feature = "pkcs11")]
    Pkcs11(Pkcs11),
    /// A key of Google Cloud KMS.
    #[cfg(feature = "gcp-kms")]
    GcpKms(GcpKms),
    /// A key of Azure Key Vault or a Managed HSM.
    #[cfg(feature = "azure-key-vault")]
    AzureKeyVault(AzureKeyVault),
}

impl Provider {
    /// Whether this is AWS KMS, or a service with its API.
    pub fn is_aws_kms(&self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::AwsKms(_) => true,
            Self::Local(_) | Self::Vault(_) => false,
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(_) => false,
            #[cfg(feature = "gcp-kms")]
            Self::GcpKms(_) => false,
            #[cfg(feature = "azure-key-vault")]
            Self::AzureKeyVault(_) => false,
        }
    }

    /// Whether the settings name a key for new data keys: only for AWS KMS, the rules of buckets may name it.
    pub fn names_key(&self) -> bool {
        #[cfg(feature = "aws")]
        if let Self::AwsKms(AwsKms { key_id: None, .. }) = self {
            return false;
        }
        true
    }

    /// The files whose content the provider reads when it is built.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            #[cfg(feature = "aws")]
            Self::AwsKms(_) => Vec::new(),
            Self::Local(local) => vec![&local.file],
            Self::Vault(vault) => vault.ca_file.as_deref().into_iter().collect(),
            // Files with PINs, secrets and tokens are read at each login.
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(_) => Vec::new(),
            #[cfg(feature = "gcp-kms")]
            Self::GcpKms(_) => Vec::new(),
            #[cfg(feature = "azure-key-vault")]
            Self::AzureKeyVault(_) => Vec::new(),
        }
    }
}

/// AWS KMS, or a service with its API.
#[cfg(feature = "aws")]
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsKms {
    /// The wrapping key for new objects of buckets that name none.
    pub key_id: Option<KeyId>,
    /// Replaces the region's own endpoint: `http://127.0.0.1:4566`, a VPC or FIPS endpoint.
    pub endpoint: Option<String>,
    /// `None`: the region of the AWS default chain, else the region in the ARN of `key_id`.
    pub region: Option<String>,
    /// `None`: the AWS default credential chain.
    pub credentials: Option<Credentials>,
}

/// Wrapping keys in a file of this machine; [`local::generate`](super::local::generate) documents its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The keyring's file.
    pub file: PathBuf,
    /// Whether a file with one new key is created if there is none.
    pub create_if_missing: bool,
}

/// Wrapping keys in a PKCS#11 token: a hardware security module or a smart card.
#[cfg(feature = "pkcs11")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11 {
    /// The vendor's shared library.
    pub library: PathBuf,
    /// The token that has the key.
    pub token: TokenName,
    /// The file with the user's PIN, read at each login.
    pub pin_file: PathBuf,
    /// CKA_LABEL of the wrapping keys: at most 256 bytes.
    pub key_label: String,
    /// CKA_ID of the key for new data keys: at most 64 bytes. `None`: one key has the label.
    pub key_id: Option<Vec<u8>>,
}

/// How a PKCS#11 token is found.
#[cfg(feature = "pkcs11")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    /// By its label, in whichever slot: at most 32 bytes.
    Label(String),
    /// By the number of its slot.
    Slot(u64),
}

#[cfg(feature = "pkcs11")]
impl std::fmt::Display for TokenName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(f, "the PKCS#11 token {label:?}"),
            Self::Slot(slot) => write!(f, "the PKCS#11 token in slot {slot}"),
        }
    }
}

/// A key of Google Cloud KMS. Its [`KeyId`] is its resource name.
#[cfg(feature = "gcp-kms")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcpKms {
    /// `projects/*/locations/*/keyRings/*/cryptoKeys/*`, with the purpose ENCRYPT_DECRYPT.
    pub key_id: KeyId,
    /// `https://cloudkms.googleapis.com`, or `http://` with a loopback address; no path.
    pub endpoint: Uri,
    /// How a token is had.
    pub login: GcpLogin,
    /// `http://metadata.google.internal`: a service of the virtual machine's own host.
    pub metadata: Uri,
}

/// How an access token of Google Cloud is had. Every file is read at each login.
#[cfg(feature = "gcp-kms")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcpLogin {
    /// The key of a service account.
    ServiceAccount {
        /// The JSON file that Google made for the key.
        key_file: PathBuf,
    },
    /// The service account of the virtual machine, or of the pod, by the metadata server.
    Metadata,
    /// A token in a file, which another program replaces before it ends.
    Token {
        /// The file that holds the token alone.
        token_file: PathBuf,
    },
}

/// A key of Azure Key Vault or a Managed HSM. Its [`KeyId`] is its identifier without a version:
/// `https://<vault>/keys/<name>`.
#[cfg(feature = "azure-key-vault")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureKeyVault {
    /// `https://<name>.vault.azure.net`, or `http://` with a loopback address; no path.
    pub vault: Uri,
    /// The key's name: letters, digits and `-`.
    pub key: String,
    /// How new data keys are wrapped.
    pub algorithm: AzureAlgorithm,
    /// How a token is had.
    pub login: AzureLogin,
    /// `https://login.microsoftonline.com`, or that of another cloud.
    pub authority: Uri,
    /// `http://169.254.169.254`: a service of the virtual machine's own host.
    pub metadata: Uri,
}

/// An algorithm by which Azure wraps data keys.
#[cfg(feature = "azure-key-vault")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureAlgorithm {
    /// RSA with OAEP and SHA-256. The public key is enough to wrap.
    RsaOaep256,
    /// AES key wrap with 256 bits (RFC 3394), of a Managed HSM alone.
    A256Kw,
}

#[cfg(feature = "azure-key-vault")]
impl AzureAlgorithm {
    /// The name in requests (RFC 7518).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::A256Kw => "A256KW",
        }
    }

    /// The number in blobs.
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::RsaOaep256 => 1,
            Self::A256Kw => 2,
        }
    }

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        [Self::RsaOaep256, Self::A256Kw].into_iter().find(|algorithm| algorithm.tag() == tag)
    }
}

/// How an access token for Azure Key Vault is had. Every file is read at each login.
#[cfg(feature = "azure-key-vault")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureLogin {
    /// The secret of an app registration.
    ClientSecret {
        /// The tenant's id or domain.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// The file that holds the secret alone.
        secret_file: PathBuf,
    },
    /// The token of another identity provider, such as Kubernetes: workload identity.
    Federated {
        /// The tenant's id or domain.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// The file that holds the other provider's token, which that one replaces.
        assertion_file: PathBuf,
    },
    /// The managed identity of the virtual machine.
    ManagedIdentity {
        /// Which one, of several user-assigned.
        client_id: Option<String>,
    },
    /// A token in a file, which another program replaces before it ends.
    Token {
        /// The file that holds the token alone.
        token_file: PathBuf,
    },
}

/// A key of the Transit engine of OpenBao or HashiCorp Vault. Its [`KeyId`] is `mount/key`, or in a namespace
/// `namespace/mount/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// `https://host:port`, or `http://` with a loopback address; no path.
    pub address: Uri,
    /// The path at which the engine is mounted, without slashes at its ends: `transit`.
    pub mount: String,
    /// The key's name, made with `derived=true`.
    pub key: String,
    /// The namespace of the mount and of the login, without slashes at its ends.
    pub namespace: Option<String>,
    /// A PEM file of root certificates, trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How a token is had.
    pub login: VaultLogin,
}

/// How a token of OpenBao or Vault is had. Every file is read at each login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultLogin {
    /// A token in a file, which another program may replace.
    Token {
        /// The file that holds the token alone.
        token_file: PathBuf,
    },
    /// The AppRole method.
    AppRole {
        /// Where the method is mounted below `auth/`.
        mount: String,
        /// The role's id, which is not secret.
        role_id: String,
        /// The file that holds the secret id alone.
        secret_id_file: PathBuf,
    },
    /// The Kubernetes method, or the JWT method, whose logins have its form.
    Kubernetes {
        /// Where the method is mounted below `auth/`.
        mount: String,
        /// The role's name.
        role: String,
        /// The file of the service account's token.
        jwt_file: PathBuf,
    },
    /// The certificate method: TLS with a client certificate.
    Certificate {
        /// Where the method is mounted below `auth/`.
        mount: String,
        /// The role's name; `None` tries every role of the mount.
        name: Option<String>,
        /// A PEM file of the certificate and its chain.
        certificate_file: PathBuf,
        /// A PEM file of the private key.
        key_file: PathBuf,
    },
}

/// Whether objects share data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// One data key serves many objects of one wrapping key and context, within the limits of
    /// [`CacheSettings`], like S3 Bucket Keys.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html>
    #[default]
    Bucket,
    /// One data key and one provider call for each object written.
    Off,
}

/// Limits of the data keys in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Counted from the provider's response and never extended by use: a revoked key works no longer than
    /// this.
    pub max_age: Duration,
    /// Maximum number of objects written under one data key.
    pub max_objects: u64,
    /// Maximum number of plaintext bytes written under one data key.
    pub max_bytes: u64,
    /// Maximum number of data keys cached for reading, and separately for writing.
    pub entries: u64,
    /// How long past `max_age` a key remains usable while the provider is unreachable. A key that the
    /// provider denies, or reports as disabled or deleted, is not used past `max_age`.
    pub stale_if_error: Option<Duration>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5 * 60),
            max_objects: 10_000,
            max_bytes: 1 << 40,
            entries: 10_000,
            stale_if_error: None,
        }
    }
}
