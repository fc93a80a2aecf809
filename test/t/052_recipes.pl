# 052_recipes.pl
#	  The recipes of doc/migrating.md, between two
#	  real clusters through postgres_fdw, and with a file through file_fdw.
#
# What a schedule would call, the test calls itself: syncext.run_job.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $hub = PostgreSQL::Test::Cluster->new('hub');
my $shop = PostgreSQL::Test::Cluster->new('shop');
$hub->init;
plan skip_all => 'postgres_fdw or file_fdw is not installed'
	if grep { !-e $hub->config_data('--pkglibdir') . "/$_.so" } qw(postgres_fdw file_fdw);
$shop->init;
$_->start for $hub, $shop;

sub hub { return $hub->safe_psql('postgres', $_[0]) }
sub shop { return $shop->safe_psql('postgres', $_[0]) }
sub run_job { return hub("CALL syncext.run_job('$_[0]')") }

# A count out of what run_job answers
sub counted
{
	my ($answer, $key) = @_;
	return $answer =~ /"\Q$key\E": (\d+)/ ? $1 : "no \"$key\" in $answer";
}

# All rows of a table in one text, whichever cluster it is in
my $rows = q(SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM %s t);

# The same table on both sides, equal rows
sub same
{
	my ($columns, $there, $here, $what) = @_;
	my $query = "SELECT string_agg((t.*)::text, ' ' ORDER BY (t.*)::text) FROM (SELECT $columns FROM %s) t";
	is(hub(sprintf($query, $here)), shop(sprintf($query, $there)), $what);
}

shop(q(
	CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, updated_at timestamptz NOT NULL DEFAULT now());
	CREATE INDEX ON item (updated_at);
	INSERT INTO item SELECT n, 'item ' || n, n, now() - n * interval '1 min' FROM generate_series(1, 1000) n;
	CREATE TABLE customer (id int PRIMARY KEY, name text, email text, phone text);
	INSERT INTO customer SELECT n, 'customer ' || n, n || '@shop.example', NULL FROM generate_series(1, 100) n;
	CREATE TABLE price (id int PRIMARY KEY, amount numeric, updated_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE article (id text PRIMARY KEY, name text, stock int);
));
my ($host, $port) = ($shop->host, $shop->port);
hub(qq(
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE EXTENSION file_fdw;
	CREATE SERVER shop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER shop;
	CREATE SCHEMA shop;
	IMPORT FOREIGN SCHEMA public FROM SERVER shop INTO shop;
	SELECT sync_add_source('Shop', 1), sync_add_source('Office', 2);
	SELECT sync_add_entity('item'), sync_add_entity('customer'), sync_add_entity('price', '{latest,keep}'), sync_add_entity('article');
));

# ---------- sync between systems; incremental

hub(q(
	CREATE TABLE item (source_id int PRIMARY KEY, name text, price numeric);
	SELECT sync_attach('shop.item', 'Shop', 'item', capture => 'poll', direction => 'in', key => '{id}', updated_column => 'updated_at');
	SELECT sync_attach('item', 'Office', 'item', direction => 'out');
));
my ($rc, $out, $err);
my $answer = run_job('shop.item');
is(counted($answer, 'read') . ' ' . counted($answer, 'new'), '1000 1000', 'the first poll reads all');
is(counted(run_job('item'), 'delivered'), 1000, 'and all is delivered');
same('id AS id, name, price', 'item', '(SELECT source_id AS id, name, price FROM item) i', 'the target has what the source has');
# only what changed; the overlap reads what was read before, and skips it
hub(q(ALTER DATABASE postgres SET syncext.poll_overlap = 0));
shop(q(UPDATE item SET price = price + 1, updated_at = clock_timestamp() WHERE id <= 10));
$answer = run_job('shop.item');
cmp_ok(counted($answer, 'read'), '<=', 11, 'the second reads what has changed since the watermark');
is(counted($answer, 'updated'), 10, 'which are ten rows');
is(counted(run_job('item'), 'delivered'), 10, 'ten are delivered');
same('id AS id, name, price', 'item', '(SELECT source_id AS id, name, price FROM item) i', 'the target has what the source has');
# a transaction that commits late, with rows older than the watermark
hub(q(ALTER DATABASE postgres SET syncext.poll_overlap = '5 min'));
shop(q(UPDATE item SET name = 'late', updated_at = clock_timestamp() - interval '1 min' WHERE id = 500));
$answer = run_job('shop.item');
is(counted($answer, 'updated'), 1, 'what was committed late is seen, too');
shop(q(DELETE FROM item WHERE id = 1000));
is(counted(run_job('shop.item'), 'deleted'), 0, 'a poll by the watermark sees no deletes');
is(counted(hub(q(CALL sync_poll('shop.item', full_compare => true))), 'deleted'), 1, 'a full compare does');
run_job('item');
same('id AS id, name, price', 'item', '(SELECT source_id AS id, name, price FROM item) i', 'the target has what the source has');
$answer = run_job('shop.item');
is(counted($answer, 'new') + counted($answer, 'updated') + counted($answer, 'deleted'), 0, 'nothing is left to do');

# ---------- bidirectional

# The office's table is watched by triggers; the shop's, behind the wrapper, is polled.
hub(q(
	CREATE TABLE customer (id int PRIMARY KEY, name text, email text, phone text);
	SELECT sync_attach('shop.customer', 'Shop', 'customer', capture => 'poll', key => '{id}');
	SELECT sync_attach('customer', 'Office', 'customer');
));
run_job('shop.customer');
run_job('customer');
same('*', 'customer', 'customer', 'the office has the shop\'s customers');
# both sides at once: other rows, and other fields of one row
shop(q(UPDATE customer SET phone = '044' WHERE id = 1; UPDATE customer SET name = 'Shop''s' WHERE id = 2; INSERT INTO customer VALUES (201, 'new in the shop')));
hub(q(UPDATE customer SET email = 'a@office.example' WHERE id = 1; UPDATE customer SET name = 'Office''s' WHERE id = 3; INSERT INTO customer VALUES (301, 'new in the office'); DELETE FROM customer WHERE id = 100));
run_job('shop.customer');
run_job('customer');
run_job('shop.customer');
same('*', 'customer', 'customer', 'both sides are the same again');
is(hub('SELECT name, email, phone FROM customer WHERE id = 1'), 'customer 1|a@office.example|044', 'edits of one row are merged by field');
is(hub('SELECT count(*) FILTER (WHERE id IN (201, 301)), count(*) FILTER (WHERE id = 100) FROM customer'), '2|0', 'inserts and deletes are in both');
# without an echo
my $before = hub('SELECT sum(row_version) FROM syncext.canonical');
$answer = run_job('shop.customer');
is(counted($answer, 'new') + counted($answer, 'updated') + counted($answer, 'merged'), 0, 'what was delivered doesn\'t come back');
is(hub('SELECT sum(row_version) FROM syncext.canonical'), $before, 'and nothing was written');

# Random edits on both sides
srand(4);
for my $round (1 .. 5)
{
	my (@there, @here);
	for (1 .. 40)
	{
		my $id = 1 + int(rand(90));
		my $field = (qw(name email phone))[ int(rand(3)) ];
		push @{ rand() < .5 ? \@there : \@here }, "UPDATE customer SET $field = '" . int(rand(1000)) . "' WHERE id = $id";
	}
	shop(join(';', @there));
	hub(join(';', @here));
	run_job('shop.customer');
	run_job('customer');
}
run_job('shop.customer');
run_job('customer');
same('*', 'customer', 'customer', 'after random edits on both sides they are the same');
$before = hub('SELECT sum(row_version) FROM syncext.canonical');
$answer = run_job('shop.customer');
is(counted($answer, 'skipped'), counted($answer, 'read'), 'a further poll has nothing to do');
is(hub('SELECT sum(row_version) FROM syncext.canonical'), $before, 'and writes nothing');

# ---------- conflicts: the latest wins

hub(q(
	CREATE TABLE price (id int PRIMARY KEY, amount numeric, updated_at timestamptz NOT NULL DEFAULT now());
	SELECT sync_attach('shop.price', 'Shop', 'price', capture => 'poll', key => '{id}', updated_column => 'updated_at');
	SELECT sync_attach('price', 'Office', 'price', updated_column => 'updated_at');
));
shop(q(INSERT INTO price VALUES (1, 10), (2, 10), (3, 10)));
run_job('shop.price');
run_job('price');
same('id, amount', 'price', 'price', 'prices are in both');
# 1: the shop is later; 2: the office is; 3: the shop's clock runs ahead by a day
shop(q(UPDATE price SET amount = 11, updated_at = clock_timestamp() + interval '1 min' WHERE id = 1));
hub(q(UPDATE price SET amount = 12, updated_at = clock_timestamp() WHERE id = 1));
shop(q(UPDATE price SET amount = 11, updated_at = clock_timestamp() WHERE id = 2));
hub(q(UPDATE price SET amount = 12, updated_at = clock_timestamp() + interval '1 min' WHERE id = 2));
shop(q(UPDATE price SET amount = 11, updated_at = clock_timestamp() + interval '1 day' WHERE id = 3));
run_job('shop.price');
run_job('price');
run_job('shop.price');
is(hub('SELECT string_agg(id || \': \' || amount, \', \' ORDER BY id) FROM price'), '1: 11, 2: 12, 3: 11', 'the later edit wins');
same('id, amount', 'price', 'price', 'on both sides');
hub(q(UPDATE price SET amount = 13, updated_at = clock_timestamp() WHERE id = 3));
run_job('shop.price');
run_job('price');
is(shop('SELECT amount FROM price WHERE id = 3'), 13, 'a clock that runs ahead doesn\'t win for ever');

# ---------- a file

my $file = $hub->basedir . '/articles.csv';
append_to_file($file, "A1,Chair,5\nA2,Table,7\n");
hub(qq(
	SELECT sync_add_source('Supplier', 3);
	CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
	CREATE FOREIGN TABLE articles (id text, name text, stock int) SERVER files OPTIONS (filename '$file', format 'csv');
	SELECT sync_attach('articles', 'Supplier', 'article', capture => 'poll', direction => 'in', key => '{id}');
	SELECT sync_attach('shop.article', 'Shop', 'article', capture => 'none', direction => 'out', key => '{id}');
));
is(counted(run_job('articles'), 'new'), 2, 'a file is read');
run_job('shop.article');
is(shop(sprintf($rows, 'article')), '(A1,Chair,5) (A2,Table,7)', 'and is in a table of the other cluster');
unlink $file;
append_to_file($file, "A1,Chair,4\nA3,Lamp,9\n");
$answer = hub(q(CALL sync_poll('articles', full_compare => true)));
is(join(' ', map { counted($answer, $_) } qw(new updated deleted)), '1 1 1', 'the next file is compared with it');
run_job('shop.article');
is(shop(sprintf($rows, 'article')), '(A1,Chair,4) (A3,Lamp,9)', 'and the table follows');
# file_fdw reads all lines to find one: while one doesn't fit, none can be read
append_to_file($file, "A4,Sofa,many\n");
cmp_ok(counted(hub(q(CALL sync_poll('articles'))), 'failed'), '>=', 1, 'a line that does not fit fails');
like(hub(q(SELECT error FROM syncext.capture_failure WHERE external_id = 'A4')), qr/invalid input syntax for type integer: "many"/, 'and says why');
run_job('shop.article');
is(shop(sprintf($rows, 'article')), '(A1,Chair,4) (A3,Lamp,9)', 'the table keeps what it has');
unlink $file;
append_to_file($file, "A1,Chair,3\nA3,Lamp,9\nA4,Sofa,1\n");
hub(q(UPDATE syncext.capture_failure SET next_attempt = now()));
run_job('articles');
run_job('shop.article');
is(shop(sprintf($rows, 'article')), '(A1,Chair,3) (A3,Lamp,9) (A4,Sofa,1)', 'mended, all of it is taken');
is(hub(q(SELECT count(*) FROM syncext.capture_failure)), 0, 'nothing is left to try');
unlink $file;
($rc, $out, $err) = $hub->psql('postgres', q(CALL syncext.run_job('articles')));
isnt($rc, 0, 'without the file, a poll fails');
is(hub(q(SELECT severity, problem ~ 'could not open file' FROM sync_check() WHERE object = 'poll of public.articles')), 'warning|t', 'sync_check() says so');
run_job('shop.article');
is(shop(q(SELECT count(*) FROM article)), 3, 'and the table keeps its rows');

# ---------- the other cluster is away

$shop->stop;
($rc, $out, $err) = $hub->psql('postgres', q(CALL syncext.run_job('shop.item')));
isnt($rc, 0, 'while the other cluster is away, a poll fails');
is(hub(q(SELECT severity, problem ~ 'could not connect to server' FROM sync_check() WHERE object = 'poll of shop.item')), 'warning|t', 'sync_check() says so');
$shop->start;
shop(q(UPDATE item SET name = 'back', updated_at = clock_timestamp() WHERE id = 7));
is(counted(run_job('shop.item'), 'updated'), 1, 'and then it goes on');
is(hub(q(SELECT count(*) FROM sync_check() WHERE object = 'poll of shop.item')), 0, 'all is well');

$_->stop for $hub, $shop;
done_testing();
