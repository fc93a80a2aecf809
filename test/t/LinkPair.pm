# LinkPair.pm
#	  A hub and its spokes on servers of their own, for the TAP tests of what
#	  operators do to them: exchanged by hand, restored, copied, promoted.

package LinkPair;

use strict;
use warnings;

use Exporter 'import';
use File::Path qw(rmtree);
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(make_hub make_spoke sql exchange exchange_error settle exchange_until all_equal lead_to restore_in_place rows turned);

my $rows = q(SELECT external_id, fields->>'name', fields->>'phone' FROM syncext.canonical
	WHERE entity = 'customer' AND NOT deleted ORDER BY 1);

sub sql
{
	my ($node, $sql) = @_;
	return $node->safe_psql('shop', $sql);
}

sub make_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1, %options);
	$node->append_conf('postgresql.conf', "synchronous_commit = on\nsyncext.retry_base = 100\nsyncext.retry_max = 1s\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	sql($node, 'CREATE EXTENSION syncext; SELECT sync_add_entity(\'customer\')');
	return $node;
}

# A hub with these spokes' sources, and an office that edits records there.
sub make_hub
{
	my ($name, $sources, %options) = @_;
	my $hub = make_node($name, %options);
	sql($hub, "SELECT sync_add_source('$_', NULL)") for @$sources;
	sql($hub, "SELECT sync_add_source('Office', 1)");
	sql($hub, q(CREATE FUNCTION office(id text, fields jsonb) RETURNS text LANGUAGE sql AS $$
		SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', 'customer', 'externalId', $1,
			'base', coalesce((SELECT row_version FROM syncext.canonical WHERE entity = 'customer' AND external_id = $1), 0))
			|| CASE WHEN fields IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', fields) END)->>'resolution' $$));
	return $hub;
}

# A spoke with a table, linked as a source; its exchanges are made by hand.
sub make_spoke
{
	my ($name, $hub, $source, %options) = @_;
	my $spoke = make_node($name, %options);
	my ($host, $port) = ($hub->host, $hub->port);

	sql($spoke, qq(
		CREATE EXTENSION postgres_fdw;
		CREATE TABLE customer (id text PRIMARY KEY, name text, phone text);
		SELECT sync_add_source('$source');
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'shop');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		BEGIN;
		SELECT sync_link('up', 'hub', '$source');
		UPDATE syncext.link SET enabled = false;
		COMMIT;
		SELECT sync_attach('customer', '$source', 'customer')));
	return $spoke;
}

# Let the spoke's link lead to another server or database.
sub lead_to
{
	my ($spoke, $hub, $database) = @_;
	my ($host, $port) = ($hub->host, $hub->port);

	$database //= 'shop';
	sql($spoke, "ALTER SERVER hub OPTIONS (SET host '$host', SET port '$port', SET dbname '$database')");
}

sub exchange
{
	my ($node, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database // 'shop', "CALL sync_exchange('up')");
	die $err if $rc != 0;
	return decode_json($out);
}

sub exchange_error
{
	my ($node, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database // 'shop', "CALL sync_exchange('up')");
	return $rc == 0 ? "no error: $out" : $err;
}

# Exchange until nothing goes over the links any more; what was busy comes again.
sub settle
{
	my (@spokes) = @_;
	my $quiet = 0;

	for my $round (1 .. 100)
	{
		my $n = 0;
		for my $spoke (@spokes)
		{
			my $r = exchange($spoke);
			$n += $r->{$_} for qw(pushed pulled failed rejected);
		}
		$quiet = $n == 0 ? $quiet + 1 : 0;
		return 1 if $quiet == 2;
		select(undef, undef, undef, 0.15) if $n == 0;
	}
	return 0;
}

# A record that could not be written comes again only when its retry is due: exchange
# until the query says yes at the spoke.
sub exchange_until
{
	my ($spoke, $query) = @_;

	for my $try (1 .. 600)
	{
		return 1 if sql($spoke, $query) eq 't';
		exchange($spoke);
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# All rows of a node, the hub's from its records.
sub rows
{
	my ($node) = @_;
	return $node->safe_psql('shop', "SELECT to_regclass('customer') IS NULL") eq 't' ? sql($node, $rows) :
		sql($node, 'SELECT id, name, phone FROM customer ORDER BY id COLLATE "C"');
}

sub all_equal
{
	my ($what, $hub, @spokes) = @_;
	my $expected = rows($hub);
	my @differ = grep { rows($_) ne $expected } @spokes;

	ok(!@differ, "$what: all have the same rows")
		or diag("hub:\n$expected\n", map { $_->name . ":\n" . rows($_) . "\n" } @spokes);
	return $expected;
}

# The node's files are what they were at the backup; nothing of what is in them tells.
sub restore_in_place
{
	my ($node, $backup) = @_;

	$node->stop('immediate');
	rmtree($node->data_dir);
	PostgreSQL::Test::RecursiveCopy::copypath($node->backup_dir . "/$backup", $node->data_dir);
	chmod(0700, $node->data_dir) or die;
	$node->start;
}

# What sync_check says of time that went back, without its times and numbers.
sub turned
{
	my ($node) = @_;
	return sql($node, q(SELECT string_agg(severity || ' ' || object || ' ' || regexp_replace(problem, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d|\d{13}', '…', 'g'), E'\n' ORDER BY object, problem)
		FROM sync_check() WHERE problem ~ 'back in time|epoch|refused|decides'));
}

1;
