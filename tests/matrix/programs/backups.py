"""Backup programs, a registry of images, and the snapshots of etcd."""

from frame.installs import Debian, Pip
from frame.program import Program

GROUP = "Files and backups"
RESTIC = """
export RESTIC_REPOSITORY="s3:$ENDPOINT/$BUCKET/restic" RESTIC_PASSWORD=of-the-repository
"""
DUPLICITY = """
export PASSPHRASE=of-the-backup GNUPGHOME="$SCRATCH/gnupg"
mkdir -p -m 700 "$GNUPGHOME"
"""
REGISTRY = """
cat >registry.yml <<EOF
version: 0.1
storage:
  s3:
    accesskey: $AWS_ACCESS_KEY_ID
    secretkey: $AWS_SECRET_ACCESS_KEY
    region: $AWS_REGION
    regionendpoint: $ENDPOINT
    forcepathstyle: true
    bucket: $BUCKET
    secure: false
    v4auth: true
    chunksize: 5242880
  redirect:
    disable: false
http:
  addr: 127.0.0.1:$OTHER_PORT
EOF
registry=127.0.0.1:$OTHER_PORT
docker-registry serve registry.yml >>"$SCRATCH/registry.log" 2>&1 &
trap 'kill %1' EXIT
for _ in $(seq 300); do curl --silent --fail "http://$registry/v2/" && break; sleep 0.1; done
"""

PROGRAMS = [
    Program(
        name="restic",
        group=GROUP,
        quick=True,
        installs=(Debian(("restic",), ("restic",)),),
        what="`backup` of a tree, `check --read-data`, `restore`",
        setup=RESTIC + "restic init",
        store=RESTIC + 'restic unlock\n(cd "$SOURCE" && restic backup .)',
        restore=RESTIC + 'restic check --read-data\nrestic restore latest --target "$RESTORED"',
    ),
    Program(
        name="duplicity",
        group=GROUP,
        installs=(Debian(("duplicity", "python3-boto3"), ("duplicity",)),),
        what="full backup of a tree in encrypted volumes of 5 MB, `verify`, `restore`",
        kill_after=7_000_000,
        store=DUPLICITY + 'duplicity full --volsize 5 --s3-endpoint-url "$ENDPOINT" "$SOURCE" "boto3+s3://$BUCKET/duplicity"',
        restore=DUPLICITY + """
duplicity verify --compare-data --s3-endpoint-url "$ENDPOINT" "boto3+s3://$BUCKET/duplicity" "$SOURCE"
rm -r ~/.cache/duplicity
duplicity restore --force --s3-endpoint-url "$ENDPOINT" "boto3+s3://$BUCKET/duplicity" "$RESTORED"
""",
    ),
    Program(
        name="docker-registry with skopeo",
        group=GROUP,
        quick=True,
        installs=(Debian(("docker-registry", "skopeo"), ("docker-registry", "skopeo")),),
        what="an image pushed and pulled; downloads are redirected to presigned URLs of the proxy",
        kill_after=6_000_000,
        note="The registry redirects downloads to the address that it knows the proxy by, so clients must reach it there.",
        setup="""
cd "$SCRATCH"
tar --create --sort=name --file layer.tar --directory "$SOURCE" .
layer=$(sha256sum layer.tar | cut -d' ' -f1)
printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" >config.json
printf '[{"Config":"config.json","RepoTags":["app:1"],"Layers":["layer.tar"]}]' >manifest.json
tar --create --file image.tar manifest.json config.json layer.tar
""",
        store=REGISTRY + """
skopeo --insecure-policy copy --dest-tls-verify=false "docker-archive:$SCRATCH/image.tar" "docker://$registry/app:1"
""",
        restore=REGISTRY + """
skopeo --insecure-policy copy --src-tls-verify=false "docker://$registry/app:1" "dir:$SCRATCH/pulled"
layer=$(skopeo inspect --tls-verify=false --format '{{index .Layers 0}}' "docker://$registry/app:1")
[ "$(curl --silent --output /dev/null --write-out '%{http_code} %{redirect_url}' "http://$registry/v2/app/blobs/$layer" | cut -c1-24)" = "307 $(echo "$ENDPOINT" | cut -c1-20)" ]
tar --extract --file "$SCRATCH/pulled/${layer#sha256:}" --directory "$RESTORED"
""",
    ),
    Program(
        name="etcd snapshots",
        group="Databases",
        quick=True,
        installs=(Debian(("etcd-server", "etcd-client"), ("etcd", "etcdctl")), Pip("clients", "awscli")),
        what="`etcdctl snapshot save`, copied by `aws s3 cp`; restored into another etcd, all of whose keys are compared",
        sizes={f"key-{number:03}": 70_000 + number for number in range(250)},
        setup="""
etcd --data-dir "$SCRATCH/first" --listen-client-urls "unix://localhost:1" --advertise-client-urls "unix://localhost:1" \\
    --listen-peer-urls "unix://localhost:2" >"$SCRATCH/etcd.log" 2>&1 &
trap 'kill %1' EXIT
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=unix://localhost:1
for _ in $(seq 300); do etcdctl endpoint health && break; sleep 0.1; done
for file in "$SOURCE"/*; do etcdctl put "$(basename "$file")" <"$file" >/dev/null; done
etcdctl snapshot save "$SCRATCH/snapshot.db"
""",
        store='aws --endpoint-url "$ENDPOINT" s3 cp "$SCRATCH/snapshot.db" "s3://$BUCKET/etcd/snapshot.db"',
        restore="""
aws --endpoint-url "$ENDPOINT" s3 cp "s3://$BUCKET/etcd/snapshot.db" "$SCRATCH/fetched.db"
cmp "$SCRATCH/snapshot.db" "$SCRATCH/fetched.db"
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=unix://localhost:3
etcdctl snapshot restore "$SCRATCH/fetched.db" --data-dir "$SCRATCH/second"
etcd --data-dir "$SCRATCH/second" --listen-client-urls "unix://localhost:3" --advertise-client-urls "unix://localhost:3" \\
    --listen-peer-urls "unix://localhost:4" >"$SCRATCH/etcd.log" 2>&1 &
trap 'kill %1' EXIT
for _ in $(seq 300); do etcdctl endpoint health && break; sleep 0.1; done
for key in $(etcdctl get --prefix --keys-only ''); do etcdctl get --print-value-only "$key" | head --bytes=-1 >"$RESTORED/$key"; done
""",
    ),
]
