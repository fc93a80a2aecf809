# 023_report.pl
#	  sync_report: a page that shows its reader what it may see, keeps whatever a record
#	  says as text, and is as good on a telephone.
#
# The browser is Debian's chromium; where there is none, what needs one is skipped.  A
# screenshot stays in test/output.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
$node->start;

my $hostile = q(</title></style></bdi></section><script>document.title = "owned"</script><img src=x onerror="parent.document.title='owned'">&lt;b&gt;'"`);
$node->safe_psql('postgres', qq(
	CREATE EXTENSION syncext;
	CREATE ROLE clerk; CREATE ROLE watcher; CREATE ROLE dora; CREATE ROLE nobody;
	SELECT sync_add_source('CRM', 1, 'clerk'), sync_add_source('Web', 3), sync_add_source('App', 3), sync_add_entity('person'), sync_add_entity('secret');
	SELECT sync_add_source(left(h, 63), 3), sync_add_source('W' || repeat('w', 60), 3) FROM (SELECT \$h\$$hostile\$h\$ AS h) h;
	SELECT sync_grant('watcher', 'monitor'), sync_grant('dora', 'steward', 'person');
	CREATE FUNCTION contest(entity text, id text, a jsonb, b jsonb) RETURNS text LANGUAGE sql AS \$\$
		SELECT (sync_apply(jsonb_build_object('source', 'Web', 'entity', entity, 'externalId', id, 'version', 1, 'fields', a)), sync_apply(jsonb_build_object('source', 'App', 'entity', entity, 'externalId', id, 'version', 1, 'fields', b)))::text \$\$;
	CREATE TABLE hostile AS SELECT \$h\$$hostile\$h\$ AS h;
	SELECT contest('person', h, jsonb_build_object(h, h, 'long', repeat('w', 3000)), jsonb_build_object(h, 'x' || h, 'long', repeat('m', 3000))) FROM hostile;
	SELECT contest('person', 'P' || i, '{"mail": "a"}', '{"mail": "b"}') FROM generate_series(1, 20) i;
	SELECT contest('secret', 'S1', '{"word": "sesame"}', '{"word": "mellon"}');
	UPDATE syncext.source SET retry_cap = 1 WHERE name = 'CRM';
));
$node->safe_psql('postgres', "SELECT sync_pull('CRM')");
$node->safe_psql('postgres', q(
	SELECT sync_ack('CRM', (SELECT batch FROM syncext.cursor WHERE target = 'CRM'), jsonb_build_array(jsonb_build_object('entity', 'person', 'externalId', h, 'error', h))) FROM hostile));

sub report
{
	my ($role) = @_;
	return $node->safe_psql('postgres', (defined $role ? "SET ROLE $role; " : '') . 'SELECT sync_report()');
}

# ---------- what is in it ----------

my $page = report();
like($page, qr/\A<!DOCTYPE html>.*<\/html>\z/s, 'one page');
ok($page !~ /<(?:script|img|a|link|iframe|object|form)\b|<[^>]*\s(?:src|href|on\w+)=|url\(|\@import/i, 'nothing of it runs, or is fetched');
ok(index($page, $hostile) < 0, 'what a record says is escaped');
ok($page =~ /&lt;script&gt;document\.title = &quot;owned&quot;/, 'and is there as text');
like($page, qr/Look at this first.*Topology.*<svg.*Conflicts.*theirs, .*ours, .*now, .*Changes an hour.*How far behind.*Jobs and links.*Dead letters.*sync_redrive\(/s, 'the sections, in their order');

# who sees what
my $seen = report('watcher');
like($seen, qr/Topology.*Changes an hour.*How far behind.*Dead letters/s, 'a monitor sees how the hub is');
unlike($seen, qr/sesame|mellon|<h2>Conflicts/, 'and no record');
$seen = report('dora');
like($seen, qr/<h2>Conflicts.*P1\b/s, 'a steward sees the conflicts of its entity');
unlike($seen, qr/sesame|mellon|secret|Topology|Dead letters/, 'and no other');
$seen = report('nobody');
unlike($seen, qr/sesame|mellon|secret|person|CRM|Topology|Dead letters|<h2>Conflicts/, 'nobody sees nothing');
$seen = report('clerk');
unlike($seen, qr/sesame|Topology|<h2>Conflicts/, 'a source sees what concerns it');
$node->safe_psql('postgres', 'CREATE DATABASE empty');
like($node->safe_psql('empty', 'CREATE EXTENSION syncext; SELECT sync_report()'), qr/There are no sources yet.*<\/html>\z/s, 'a hub that is empty has a page, too');

# ---------- in a browser ----------

my ($browser) = grep { -x $_ } map { "$_/chromium" } split(/:/, $ENV{PATH}), '/usr/bin';
my $dir = PostgreSQL::Test::Utils::tempdir();
my $output = $ENV{TEST_REPORT_DIR} || "$ENV{PWD}/test/output";

sub browse
{
	my (@args) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'env', "HOME=$dir", $browser, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars',
			"--user-data-dir=$dir/profile", '--virtual-time-budget=3000', @args ], '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return $out;
}

sub write_page
{
	my ($name, $html) = @_;
	open(my $fh, '>', "$dir/$name") or die "$name: $!";
	print $fh $html;
	close $fh;
	return "file://$dir/$name";
}

# In a frame of that width, as a script beside it sees it: the page itself may have none.
sub in_frame
{
	my ($html, $width) = @_;
	(my $text = $html) =~ s/([&"])/$1 eq '&' ? '&amp;' : '&quot;'/ge;
	return qq(<!DOCTYPE html><meta charset="utf-8"><title>frame</title><style>body{margin:0}iframe{border:0;height:2600px}</style><iframe width="$width" srcdoc="$text"></iframe>
<pre id="r"></pre><script>onload = function () {
	var f = document.querySelector('iframe').contentDocument, wide = [];
	f.querySelectorAll('body *').forEach(function (e) { if (!e.closest('svg') && e.getBoundingClientRect().right > $width + 1) wide.push(e.tagName + '.' + e.className); });
	document.getElementById('r').textContent = '=' + [f.documentElement.scrollWidth <= $width, wide.slice(0, 3).join(' ') || 'none', document.title, f.title, f.scripts.length, f.images.length,
		f.body.textContent.indexOf('<script>document.title = "owned"') > 0].join('|') + '=';
};</script>);
}

SKIP:
{
	skip 'there is no chromium: apt-get install chromium', 5 unless $browser;
	my $out = browse('--dump-dom', write_page('probe.html', '<p>works</p>'));
	skip 'chromium does not start here', 5 unless $out =~ /works/;
	for my $width (360, 1280)
	{
		$out = browse('--dump-dom', write_page("frame$width.html", in_frame($page, $width)));
		my ($said) = $out =~ /<pre id="r">=(.*?)=<\/pre>/s;
		is($said, 'true|none|frame|syncext: postgres|0|0|true', "$width pixels: nothing overflows, hostile values are text, and nothing ran");
	}
	mkdir $output;
	for my $shot ([ 'report-360.png', 360, 1 ], [ 'report-1280.png', 1280, 1 ], [ 'report-1280-dark.png', 1280, 0 ])
	{
		my ($name, $width, $scheme) = @$shot;
		unlink "$dir/$name";
		browse("--screenshot=$dir/$name", "--window-size=" . ($width < 500 ? 500 : $width) . ",2600", "--blink-settings=preferredColorScheme=$scheme",
			write_page("frame$width.html", in_frame($page, $width)));
		ok(-s "$dir/$name", "a screenshot: $name");
		system('cp', "$dir/$name", "$output/$name");
	}
}

# ---------- bounded ----------

# conflicts are written as they would be: there is no need to decide 10,000 of them
$node->safe_psql('postgres', q(
	INSERT INTO syncext.conflict_log (entity, external_id, source, version, row_version, contested, incoming, incoming_deleted, incoming_detail, canonical, canonical_deleted, canonical_source, reason)
	SELECT 'person', 'X' || i, 'App', 1, 1, '{a,b,c}', jsonb_build_object('a', repeat('a', 5000), 'b', repeat('b', 5000), 'c', i), false, '{}', '{"a": 1}', false, 'Web', 'no rung' FROM generate_series(1, 10000) i;
	INSERT INTO syncext.pending (target, entity, external_id, row_version, correction, attempts, since, error, dead_since) SELECT 'App', 'person', 'X' || i, 1, false, 5, now(), repeat('e', 200), now() FROM generate_series(1, 10000) i;
	SELECT sync_add_source('S' || i) FROM generate_series(1, 500) i));
cmp_ok(length(report()), '<', 300_000, '10,000 conflicts, 10,000 dead letters and 500 sources are a page still');

$node->stop;
done_testing();
