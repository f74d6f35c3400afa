// node presign.js ENDPOINT ACCESS-KEY-ID SECRET BUCKET, with requests as lines of JSON on its standard input: presigned URLs
// of the AWS SDK for JavaScript with its defaults, one a line.
const { S3Client, GetObjectCommand, PutObjectCommand, UploadPartCommand } = require("@aws-sdk/client-s3");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const commands = { GetObject: GetObjectCommand, PutObject: PutObjectCommand, UploadPart: UploadPartCommand };
const [endpoint, accessKeyId, secretAccessKey, Bucket] = process.argv.slice(2);
const credentials = { accessKeyId, secretAccessKey };
const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });

(async () => {
  const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
  for (const { command, ...input } of lines.map((line) => JSON.parse(line))) {
    console.log(await getSignedUrl(client, new commands[command]({ Bucket, ...input }), { expiresIn: 300 }));
  }
})();
