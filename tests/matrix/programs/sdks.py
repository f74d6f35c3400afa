"""SDKs for other languages than Python."""

from frame.installs import Cargo, GoModule, Maven, Npm
from frame.places import WORK
from frame.program import Program

GROUP = "SDKs"
JAVASCRIPT = """const { S3Client, GetObjectCommand, ListObjectsV2Command, PutObjectCommand, CreateMultipartUploadCommand, UploadPartCommand,
    CompleteMultipartUploadCommand } = require("@aws-sdk/client-s3");
const fs = require("node:fs"), path = require("node:path"), streams = require("node:stream/promises");
const { ENDPOINT: endpoint, BUCKET: Bucket, SOURCE: source, RESTORED: restored } = process.env;
const s3 = new S3Client({ endpoint, forcePathStyle: true });
"""
GO = """package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func client() *s3.Client {
	settings, err := config.LoadDefaultConfig(context.Background())
	check(err)
	return s3.NewFromConfig(settings, func(options *s3.Options) {
		options.BaseEndpoint = aws.String(os.Getenv("ENDPOINT"))
		options.UsePathStyle = true
	})
}
"""
JAVA = """import java.net.URI;
import java.nio.file.*;
import java.util.stream.Collectors;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.transfer.s3.S3TransferManager;
import software.amazon.awssdk.transfer.s3.model.*;

class Transfer {
    static final String bucket = System.getenv("BUCKET");
    static final S3AsyncClient s3 = S3AsyncClient.builder().endpointOverride(URI.create(System.getenv("ENDPOINT"))).forcePathStyle(true)
        .multipartEnabled(true).multipartConfiguration(parts -> parts.minimumPartSizeInBytes(5L << 20).thresholdInBytes(5L << 20)).build();

"""

PROGRAMS = [
    Program(
        name="AWS SDK for JavaScript",
        group=GROUP,
        quick=True,
        installs=(Npm("@aws-sdk/client-s3"),),
        what="a tree by PutObject of streams, the largest file as parts of 5 MiB; GetObject as streams",
        language="cjs",
        interpreter=("node",),
        store=JAVASCRIPT + """
async function storeParts(Key, file) {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const content = fs.readFileSync(file), Parts = [];
    for (let start = 0, PartNumber = 1; start < content.length; start += 5 << 20, PartNumber++) {
        const Body = content.subarray(start, start + (5 << 20));
        Parts.push({ PartNumber, ETag: (await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }))).ETag });
    }
    await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
}

(async () => {
    for (const Key of fs.readdirSync(source, { recursive: true })) {
        const file = path.join(source, Key), { size } = fs.statSync(file);
        if (fs.statSync(file).isDirectory()) continue;
        if (size > 10e6) await storeParts(Key, file);
        else await s3.send(new PutObjectCommand({ Bucket, Key, Body: fs.createReadStream(file), ContentLength: size }));
    }
})();
""",
        restore=JAVASCRIPT + """
(async () => {
    for (const { Key } of (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents) {
        const file = path.join(restored, Key);
        fs.mkdirSync(path.dirname(file), { recursive: true });
        await streams.pipeline((await s3.send(new GetObjectCommand({ Bucket, Key }))).Body, fs.createWriteStream(file));
    }
})();
""",
    ),
    Program(
        name="AWS SDK for Rust",
        group=GROUP,
        installs=(Cargo("rust_sdk", "aws-sdk-s3"),),
        what="a tree by PutObject, large files as parts of 5 MiB; GetObject",
        note="The program is `tests/matrix/rust_sdk.rs`.",
        store="rust_sdk store",
        restore="rust_sdk restore",
    ),
    Program(
        name="AWS SDK for Go 2",
        group=GROUP,
        installs=(GoModule("github.com/aws/aws-sdk-go-v2/service/s3"),),
        what="a tree by the manager's Uploader and Downloader, in parts of 5 MiB",
        language="go",
        interpreter=("go", "-C", str(WORK / "go-module"), "run"),
        store=GO + """
func main() {
	uploader, source := manager.NewUploader(client()), os.Getenv("SOURCE")
	check(filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		check(err)
		defer file.Close()
		key, err := filepath.Rel(source, path)
		check(err)
		_, err = uploader.Upload(context.Background(), &s3.PutObjectInput{Bucket: aws.String(os.Getenv("BUCKET")), Key: aws.String(key), Body: file})
		return err
	}))
}
""",
        restore=GO.replace('\t"io/fs"\n', "") + """
func main() {
	store, bucket := client(), aws.String(os.Getenv("BUCKET"))
	downloader := manager.NewDownloader(store)
	listed, err := store.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: bucket})
	check(err)
	for _, object := range listed.Contents {
		path := filepath.Join(os.Getenv("RESTORED"), *object.Key)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		file, err := os.Create(path)
		check(err)
		_, err = downloader.Download(context.Background(), file, &s3.GetObjectInput{Bucket: bucket, Key: object.Key})
		check(err)
		check(file.Close())
	}
}
""",
    ),
    Program(
        name="AWS SDK for Java 2",
        group=GROUP,
        installs=(Maven("java", "s3"),),
        what="a tree by S3TransferManager's directory transfers, in parts of 5 MiB",
        language="java",
        interpreter=("java", "-Xmx1g"),
        store=JAVA + """    public static void main(String[] arguments) throws Exception {
        try (var transfers = S3TransferManager.builder().s3Client(s3).build()) {
            var done = transfers.uploadDirectory(upload -> upload.bucket(bucket).source(Path.of(System.getenv("SOURCE")))).completionFuture().join();
            if (!done.failedTransfers().isEmpty()) throw new Exception(done.failedTransfers().toString());
        }
    }
}
""",
        restore=JAVA + """    public static void main(String[] arguments) throws Exception {
        try (var transfers = S3TransferManager.builder().s3Client(s3).build()) {
            var done = transfers.downloadDirectory(download -> download.bucket(bucket).destination(Path.of(System.getenv("RESTORED")))).completionFuture().join();
            if (!done.failedTransfers().isEmpty()) throw new Exception(done.failedTransfers().toString());
        }
    }
}
""",
    ),
]
