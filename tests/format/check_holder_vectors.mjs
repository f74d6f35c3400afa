// Opens every vector of tests/vectors/holders with holder_reader.mjs: node tests/format/check_holder_vectors.mjs

import { createPrivateKey } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { RECOVERY, encodeContext, exportPublic, findEntry, openRecovery, openService, parseHolders } from "./holder_reader.mjs";
import { Refused, openEnvelope } from "./reader.mjs";

const FOLDER = new URL("../vectors/holders/", import.meta.url);
const demand = (holds, fault) => { if (!holds) throw new Error(fault); };

/** The data key that the vector's reader finds. */
function findDataKey({ header, realm, holder, recovery_key: recoveryKey }) {
  const entries = parseHolders(header), context = encodeContext(realm);
  if (recoveryKey) {
    const entry = findEntry(entries, RECOVERY, exportPublic(createPrivateKey(recoveryKey)));
    return openRecovery(entry, context, recoveryKey);
  }
  return openService(findEntry(entries, holder.kind, Buffer.from(holder.name)), context, (inner) => {
    if (inner.toString("base64") !== holder.inner) throw new Refused("HolderKey");
    return Buffer.from(holder.key, "hex");
  });
}

function openVector(vector) {
  const dataKey = findDataKey(vector), name = { realm: vector.realm, objectKey: vector.object_key };
  demand(dataKey.toString("hex") === vector.data_key, "another data key");
  const { contentKey } = openEnvelope(vector.envelope, dataKey, { ...name, leastBinding: "realm+key" });
  demand(contentKey.toString("hex") === vector.content_key, "another content key");
}

/** What becomes of a vector: "ok", the reason of its refusal, or a fault of the reader. */
function checkVector(vector) {
  try {
    openVector(vector);
    return "ok";
  } catch (error) {
    return error instanceof Refused ? error.message : error.stack;
  }
}

const counts = { opened: 0, refused: 0, wrong: 0 };
for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json")).sort()) {
  const vector = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8")), result = checkVector(vector);
  counts[result !== vector.expect ? "wrong" : result === "ok" ? "opened" : "refused"] += 1;
  if (result !== vector.expect) console.error(`${file}: expected ${vector.expect} (${vector.rule}), but: ${result}`);
}
console.log(`${counts.opened} vectors of holders opened, ${counts.refused} refused, ${counts.wrong} wrong`);
process.exitCode = counts.wrong === 0 && counts.opened > 0 && counts.refused > 0 ? 0 : 1;
