# 079_key_clients.pl
#	  The client's loop of doc/keys.md, as it stands there, in Python and in JavaScript: a
#	  system that draws its own keys, fails at times, and is killed between creating a
#	  record and saying its key, has in the end what the hub has.
#
# It wants Debian's python3-psycopg and node-pg; what is not there is skipped.

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $doc = "$FindBin::RealBin/../../doc/keys.md";
my $text = do { local (@ARGV, $/) = $doc; <> };
my $json = JSON::PP->new->canonical;

# The system: a file that outlives its process, with rows by key.  It makes a row once for an
# id of the hub's, cannot take a name that is "bad", and dies at "crash" the first time,
# when the row is made and nobody knows of it.  The loop ends where there is nothing to do.
my %prelude = (
	python => <<'END',
import json, os, sys
import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

class Time:
    def sleep(self, seconds):
        sys.exit(0)
time = Time()

class Erp:
    def __init__(self, file):
        self.file = file
        self.rows = json.load(open(file)) if os.path.exists(file) else {}
    def keep(self):
        json.dump(self.rows, open(self.file, "w"))
    def create(self, fields, hub_id):
        if fields["name"] == "bad":
            raise ValueError("that is no name")
        for key, row in self.rows.items():
            if row["hub_id"] == hub_id:
                return self.update(key, fields) or key
        key = "K-%d" % (len(self.rows) + 1)
        self.rows[key] = {"hub_id": hub_id, **fields}
        self.keep()
        if fields["name"] == "crash":
            os._exit(9)
        return key
    def update(self, key, fields):
        if fields["name"] == "bad":
            raise ValueError("that is no name")
        self.rows[key] = {"hub_id": self.rows[key]["hub_id"], **fields}
        self.keep()
    def delete(self, key, hub_id):
        for k, row in self.rows.items():
            if k == key or row["hub_id"] == hub_id:
                self.rows[k] = {"hub_id": hub_id, "gone": True}
        self.keep()

erp = Erp(sys.argv[2])
db = psycopg.connect(sys.argv[1], autocommit=True, row_factory=namedtuple_row)
END
	js => <<'END',
const fs = require('fs');
const { Client } = require('pg');
const [connection, file] = [JSON.parse(process.argv[2]), process.argv[3]];
const sleep = () => process.exit(0);
const rows = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : {};
const keep = () => fs.writeFileSync(file, JSON.stringify(rows));
const check = (fields) => { if (fields.name === 'bad') throw new Error('that is no name'); };
const erp = {
  async create(fields, hub_id) {
    check(fields);
    const known = Object.keys(rows).find((k) => rows[k].hub_id === hub_id);
    const key = known ?? `K-${Object.keys(rows).length + 1}`;
    rows[key] = { hub_id, ...fields };
    keep();
    if (known === undefined && fields.name === 'crash') process.exit(9);
    return key;
  },
  async update(key, fields) {
    check(fields);
    rows[key] = { hub_id: rows[key].hub_id, ...fields };
    keep();
  },
  async remove(key, hub_id) {
    for (const k of Object.keys(rows))
      if (k === key || rows[k].hub_id === hub_id) rows[k] = { hub_id, gone: true };
    keep();
  },
};
async function main(db) {
  await db.connect();
END
);
my %postlude = (python => '', js => "}\nmain(new Client(connection)).catch((e) => { console.error(e); process.exit(1); });\n");
my %has = (
	python => [ '/usr/bin/python3', '-c', 'import psycopg' ],
	js => [ 'node', '-e', 'require("pg")' ]);
my %package = (python => 'python3-psycopg', js => 'node-pg');

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "syncext.retry_base = 1\nsyncext.retry_max = 1\n");
$node->start;

sub loop_of
{
	my ($language) = @_;
	my ($loop) = $text =~ /^```$language\n(.*?)^```/ms or return undef;

	return $prelude{$language} . $loop . $postlude{$language};
}

# Run the loop until it has nothing to do; returns how often it was begun.
sub run_loop
{
	my ($language, $database, $copy) = @_;
	my $program = "$dir/loop.$language";
	my %connection = (host => $node->host, port => $node->port, database => $database);
	my @args = $language eq 'python' ? $node->connstr($database) : $json->encode(\%connection);

	unlink $program;
	append_to_file($program, loop_of($language));
	for my $n (1 .. 5)
	{
		my $err = '';
		my $ended = IPC::Run::run([ $has{$language}[0], $program, @args, $copy ], '2>', \$err);
		return $n if $ended;
		die "$language: $err\n" if $err ne '';
	}
	return 'for ever';
}

# The rows that live, with the hub's names of them
sub rows_of
{
	my ($copy) = @_;
	my $rows = $json->decode(slurp_file($copy));
	return { map { ($_ => { name => $rows->{$_}{name}, hub_id => $rows->{$_}{hub_id} }) } grep { !$rows->{$_}{gone} } keys %$rows };
}

sub crosswalk
{
	my ($database) = @_;
	return $json->decode($node->safe_psql($database, q(
		SELECT coalesce(json_object_agg(k.source_id, json_build_object('name', c.fields->'name', 'hub_id', k.external_id)), '{}')
		FROM syncext.source_key k JOIN syncext.canonical c USING (entity, external_id)
		WHERE k.source = 'ERP' AND NOT k.duplicate AND NOT c.deleted)));
}

for my $language (qw(python js))
{
	ok(defined loop_of($language), "doc/keys.md has the loop in $language");
  SKIP:
	{
		skip "$package{$language} is not there: apt-get install $package{$language}", 8
			unless IPC::Run::run($has{$language}, '>', \my $out, '2>', \my $err);
		my $copy = "$dir/$language.json";
		my $say = sub {
			my ($key, $name) = @_;
			my %doc = (source => 'CRM', entity => 'customer', sourceId => "$key", version => time, defined $name ? (fields => { name => $name }) : (deleted => JSON::PP::true));
			return $node->safe_psql($language, "SELECT sync_apply('" . $json->encode(\%doc) . "')->>'resolution'");
		};

		$node->safe_psql('postgres', "CREATE DATABASE $language");
		$node->safe_psql($language, q(
			CREATE EXTENSION syncext;
			SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_entity('customer', '{overwrite}');
			SELECT sync_own_keys('CRM', 'customer'), sync_own_keys('ERP', 'customer')));
		$say->(@$_) for [ 1001, 'Ann' ], [ 1002, 'crash' ], [ 1003, 'bad' ], [ 1004, 'Bob' ];
		is(run_loop($language, $language, $copy), 2, "$language: the loop is killed once, and ends when there is nothing to do");
		is_deeply(rows_of($copy), crosswalk($language), 'its rows are the records that have keys of it');
		is(join(' ', sort map { $_->{name} } values %{ rows_of($copy) }), 'Ann Bob crash', 'which are all but the one that it cannot take');
		is($node->safe_psql($language, q(SELECT count(*) FROM syncext.pending WHERE target = 'ERP' AND error ~ 'no name')), 1, 'of that it said why');
		$say->(@$_) for [ 1001, 'Anna' ], [ 1003, 'good' ], [ 1004, undef ];
		$node->safe_psql($language, q(UPDATE syncext.pending SET next_attempt = now()));
		is(run_loop($language, $language, $copy), 1, 'it goes on');
		is_deeply(rows_of($copy), crosswalk($language), 'its rows are the records that have keys of it');
		is(join(' ', sort map { $_->{name} } values %{ rows_of($copy) }), 'Anna crash good', 'as they are now');
		is($node->safe_psql($language, q(SELECT count(*) FROM syncext.pending WHERE target = 'ERP')), 0, 'and nothing waits');
	}
}

$node->stop;
done_testing();
