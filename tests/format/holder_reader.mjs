// Opens the entries of further holders and of recovery keys, without s3veil. Written from docs/FORMAT.md, with Node's
// standard library only; a Refused has a reason of its section "Vectors of further holders" as message.

import { createHash, createHmac, createPrivateKey, createPublicKey, diffieHellman } from "node:crypto";
import { Refused, encode, encodeLabel, hkdf, join, unseal } from "./reader.mjs";

export const RECOVERY = 16;
const LONGEST = 1536, SEALED_KEY = 48, NOTHING = Buffer.alloc(0), ZERO_NONCE = Buffer.alloc(12);
const SPKI = Buffer.from("302a300506032b656e032100", "hex");
const demand = (holds, reason) => { if (!holds) throw new Refused(reason); };

const encodeText = (text) => join(encode(Buffer.byteLength(text), 4), Buffer.from(text));

/** The canonical encoding of the encryption context of a realm (F-02, F-29). */
export const encodeContext = (realm) =>
  join(encode(2, 4), ...["s3veil:realm", realm, "s3veil:version", "1"].map(encodeText));

/** F-62. */
export const computeFingerprint = (kind, name) =>
  createHash("sha256").update(join(encode(kind, 1), name)).digest().subarray(0, 8);

/** All entries of a header, of unknown kinds too (F-60, F-61). */
export function parseHolders(text) {
  demand(text.length <= LONGEST / 3 * 4, "HoldersLength");
  const bytes = Buffer.from(text, "base64"), entries = [], names = new Set();
  demand(bytes.toString("base64") === text && bytes.length >= 2 && bytes[0] === 1 && bytes[1] > 0, "Holders");
  let rest = bytes.subarray(2);
  for (let i = 0; i < bytes[1]; i++) {
    demand(rest.length >= 11, "Holders");
    const length = rest.readUInt16BE(9), name = rest.toString("hex", 0, 9);
    demand(length > 0 && rest.length >= 11 + length && !names.has(name), "Holders");
    names.add(name);
    entries.push({ kind: rest[0], fingerprint: rest.subarray(1, 9), blob: rest.subarray(11, 11 + length) });
    rest = rest.subarray(11 + length);
  }
  demand(rest.length === 0, "Holders");
  return entries;
}

/** The entry of one holder's key, or a refusal. */
export function findEntry(entries, kind, name) {
  const fingerprint = computeFingerprint(kind, name);
  const found = entries.find((entry) => entry.kind === kind && entry.fingerprint.equals(fingerprint));
  demand(found !== undefined, "NoHolder");
  return found;
}

/** The data key in a service's entry; `unwrap` gives the key in `inner` (F-63). */
export function openService({ kind, fingerprint, blob }, context, unwrap) {
  demand(blob.length > 2 + SEALED_KEY && blob.readUInt16BE(0) === blob.length - 2 - SEALED_KEY, "HolderBlob");
  const inner = unwrap(blob.subarray(2, -SEALED_KEY)), key = hkdf(inner, NOTHING, encodeLabel("holder"), 32);
  return unseal(key, ZERO_NONCE, blob.subarray(-SEALED_KEY), join(encode(kind, 1), fingerprint, context), "HolderTag");
}

const extract = (suite, salt, label, secret) =>
  createHmac("sha256", salt).update(join(Buffer.from("HPKE-v1"), suite, Buffer.from(label), secret)).digest();

/** LabeledExpand of RFC 9180, section 4, for one block of HKDF: 32 bytes at most. */
const expand = (suite, key, label, info, length) =>
  createHmac("sha256", key)
    .update(join(encode(length, 2), Buffer.from("HPKE-v1"), suite, Buffer.from(label), info, encode(1, 1)))
    .digest().subarray(0, length);

/** The public half of a private key, 32 bytes. */
export const exportPublic = (privateKey) =>
  createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(SPKI.length);

function agree(privateKey, enc) {
  try {
    const publicKey = createPublicKey({ key: join(SPKI, enc), format: "der", type: "spki" });
    return diffieHellman({ privateKey, publicKey });
  } catch {
    throw new Refused("HolderTag");
  }
}

/** The data key in the entry of a recovery key, which is given in PEM: HPKE, base mode, one message (F-66). */
export function openRecovery({ blob }, context, pem) {
  demand(blob.length === 32 + SEALED_KEY, "HolderBlob");
  const privateKey = createPrivateKey(pem), enc = blob.subarray(0, 32), info = join(encodeLabel("recovery"), context);
  const kem = join(Buffer.from("KEM"), encode(0x20, 2)), suite = join(Buffer.from("HPKE"), encode(0x0020_0001_0002, 6));
  const secret = extract(kem, NOTHING, "eae_prk", agree(privateKey, enc));
  const shared = expand(kem, secret, "shared_secret", join(enc, exportPublic(privateKey)), 32);
  const hashes = [extract(suite, NOTHING, "psk_id_hash", NOTHING), extract(suite, NOTHING, "info_hash", info)];
  const schedule = join(encode(0, 1), ...hashes), prk = extract(suite, shared, "secret", NOTHING);
  const [key, nonce] = [["key", 32], ["base_nonce", 12]].map(([label, length]) => expand(suite, prk, label, schedule, length));
  return unseal(key, nonce, blob.subarray(32), NOTHING, "HolderTag");
}
