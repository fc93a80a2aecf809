# 071_encodings.pl
#	  A hub and its spokes in other encodings, with random text both ways: what a
#	  database can't hold is told record by record, and all else arrives.
#
# ENCODINGS_SEED repeats a run.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{ENCODINGS_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
note("ENCODINGS_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('both');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<'END');
max_connections = 30
syncext.retry_base = 50
syncext.retry_max = 100
END
$node->start;
my ($host, $port) = ($node->host, $node->port);

sub sql
{
	my ($database, $sql) = @_;
	# what is told here are code points, so that the terminal's encoding doesn't matter
	return $node->safe_psql($database, "SET client_encoding = SQL_ASCII;\n$sql");
}

sub exchange
{
	my ($database) = @_;
	my ($rc, $out, $err) = $node->psql($database, "CALL sync_exchange('up')");
	return $rc == 0 ? $out : $err;
}

# Text of some characters from a range of code points, as an SQL expression that no
# encoding stands in the way of.
sub text_of
{
	my (@ranges) = @_;
	return join ' || ', map { my $r = $ranges[ int rand @ranges ]; 'chr(' . ($r->[0] + int rand($r->[1] - $r->[0] + 1)) . ')' } 1 .. 1 + int rand 6;
}

my @ascii = ([ 33, 126 ]);
my @latin = ([ 33, 126 ], [ 0xa1, 0xff ]);
my @wide = ([ 33, 126 ], [ 0xa1, 0xff ], [ 0x20ac, 0x20ac ], [ 0x400, 0x4ff ], [ 0x4e00, 0x4fff ], [ 0x1f600, 0x1f640 ]);

# The hub's encoding and the spoke's.  LATIN1's chr() knows bytes, which are its code points.
my @pairs = ([ 'UTF8', 'LATIN1' ], [ 'LATIN1', 'UTF8' ], [ 'LATIN1', 'LATIN1' ], [ 'UTF8', 'SQL_ASCII' ], [ 'UTF8', 'WIN1252' ]);

sub make_databases
{
	my ($n, $hub_encoding, $spoke_encoding) = @_;
	my ($hub, $spoke) = ("hub$n", "spoke$n");

	$node->safe_psql('postgres', "CREATE DATABASE $hub ENCODING '$hub_encoding' TEMPLATE template0");
	$node->safe_psql('postgres', "CREATE DATABASE $spoke ENCODING '$spoke_encoding' TEMPLATE template0");
	sql($hub, "CREATE EXTENSION syncext; SELECT sync_add_source('S'), sync_add_source('Office'), sync_add_entity('item');");
	sql($spoke, qq(
		CREATE EXTENSION syncext;
		CREATE EXTENSION postgres_fdw;
		CREATE TABLE item (id text PRIMARY KEY, v text);
		SELECT sync_add_source('S'), sync_add_entity('item');
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$hub');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		BEGIN;
		SELECT sync_link('up', 'hub', 'S');
		UPDATE syncext.link SET enabled = false;
		COMMIT;
		SELECT sync_attach('item', 'S', 'item');
	));
	return ($hub, $spoke);
}

sub edit_at_hub
{
	my ($hub, $id, $value) = @_;
	return "SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', 'item', 'externalId', $id, 'version', 1, 'fields', jsonb_build_object('v', $value)));\n";
}

# Exchange until nothing moves.
sub settle
{
	my ($spoke) = @_;
	for (1 .. 60)
	{
		my $out = exchange($spoke);
		return $out if $out !~ /^\{/;
		return '' if $out =~ /"pulled": 0/ && $out =~ /"pushed": 0/ && $out =~ /"failed": 0/ && $_ > 8;
		sleep 0.1;
	}
	return 'it never settles';
}

for my $n (0 .. $#pairs)
{
	my ($hub_encoding, $spoke_encoding) = @{ $pairs[$n] };
	my $what = "a $hub_encoding hub with a $spoke_encoding spoke";
	my ($hub, $spoke) = make_databases($n, $hub_encoding, $spoke_encoding);
	my @hub_text = $hub_encoding eq 'UTF8' ? @wide : @latin;
	my @spoke_text = $spoke_encoding eq 'UTF8' ? @wide : $spoke_encoding eq 'SQL_ASCII' ? @ascii : @latin;
	my $at_hub = '';
	my $at_spoke = '';

	$at_hub .= edit_at_hub($hub, "'h$_-' || " . text_of(rand() < 0.2 ? @hub_text : @ascii), text_of(rand() < 0.5 ? @hub_text : @ascii)) for 1 .. 60;
	$at_spoke .= "INSERT INTO item VALUES ('s$_-' || " . text_of(@ascii) . ", " . text_of(rand() < 0.3 ? @spoke_text : @ascii) . ");\n" for 1 .. 60;
	# bytes that are no character of the encoding's
	$at_spoke .= "INSERT INTO item VALUES ('odd', chr(129));\n" if $spoke_encoding eq 'WIN1252';
	sql($hub, $at_hub);
	sql($spoke, $at_spoke);
	is(settle($spoke), '', "$what: exchanges go on");

	# what isn't there is told, record by record, with the reason
	is(sql($spoke, "SELECT count(*) FROM item WHERE id LIKE 'h%'") + sql($hub, "SELECT count(*) FROM syncext.pending WHERE dead_since IS NOT NULL OR error IS NOT NULL"),
		60, "$what: each of the hub's records is here, or is told as what can't be");
	is(sql($hub, "SELECT count(*) FROM syncext.canonical WHERE external_id LIKE 's%' OR external_id = 'odd'") + sql($spoke, "SELECT count(*) FROM syncext.capture_failure"),
		sql($spoke, "SELECT count(*) FROM item WHERE id LIKE 's%' OR id = 'odd'"), "$what: and so is each of the spoke's");
	is(sql($hub, "SELECT count(*) FROM syncext.pending WHERE error !~ '^22(P05|021)'"), 0, "$what: for no other reason");
	# a record that was refused comes when it can be held
	sql($hub, "SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', p.entity, 'externalId', p.external_id, 'version', 2, 'fields', '{\"v\": \"plain\"}'::jsonb))
		FROM syncext.pending p WHERE octet_length(p.external_id) = length(p.external_id)");
	is(settle($spoke), '', "$what: and on");
	is(sql($hub, "SELECT count(*) FROM syncext.pending p WHERE octet_length(p.external_id) = length(p.external_id)"), 0, "$what: a value that can be held comes after all");
	like(sql($hub, "SELECT c FROM sync_check() c"), qr/22P05/, "$what: sync_check tells of the rest") if $hub_encoding eq 'UTF8' && sql($hub, "SELECT count(*) FROM syncext.pending") > 0;
}

done_testing();
