-- sync_report(): the hub on one page of HTML, without a script.
--
-- sync_report reads, as its caller, and hands what it has read as jsonb to functions
-- that make HTML of their arguments and read nothing.  Whatever a record, a name or an
-- error says goes through syncext.html.

-- What a caller may know who watches the hub: how many changes an hour came to which end,
-- of the last 100,000 that the log has, by which it costs the same however long it is.  Of
-- those that say nothing new the log has a few only, and their number would tell nothing.
CREATE VIEW syncext.hourly WITH (security_barrier) AS
	SELECT pg_catalog.date_trunc('hour', l.recorded_at) AS hour, syncext.resolution_name(l.resolution) AS resolution, count(*) AS changes
	FROM (SELECT r.recorded_at, r.resolution FROM syncext.log_row r ORDER BY r.xid DESC, r.seq DESC LIMIT 100000) l
	WHERE l.recorded_at > pg_catalog.date_trunc('hour', pg_catalog.clock_timestamp()) - interval '23 hours'
	  AND l.resolution <> '='
	  AND (SELECT syncext.may_monitor())
	GROUP BY 1, 2;
COMMENT ON VIEW syncext.hourly IS
	'changes of the last 24 hours by hour and resolution, of the last 100,000 in the log; for administrators and monitors';
COMMENT ON COLUMN syncext.hourly.hour IS 'the hour that begins then';
COMMENT ON COLUMN syncext.hourly.changes IS 'how many changes came to this end in it';

-- A value as text in HTML: no markup, nothing that turns the direction of what follows,
-- no control characters, and no more than a reader reads.
CREATE FUNCTION syncext.html(value text, most integer DEFAULT 160) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN value IS NULL THEN '' ELSE
		'<bdi>' || replace(replace(replace(replace(replace(
			regexp_replace(left(value, most), CASE WHEN getdatabaseencoding() = 'UTF8'
				THEN E'[\\u0001-\\u001F\\u007F-\\u009F\\u200E\\u200F\\u2028-\\u202E\\u2060-\\u206F\\uFEFF]+'
				ELSE E'[\\u0001-\\u001F\\u007F]+' END, ' ', 'g'),
			'&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;') ||
		CASE WHEN length(value) > most THEN '&#8230;' ELSE '' END || '</bdi>' END;
COMMENT ON FUNCTION syncext.html(text, integer) IS 'a value as text in HTML, of so many characters at most';

-- The same in an attribute or within <text> of a picture.
CREATE FUNCTION syncext.html_plain(value text, most integer DEFAULT 24) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN replace(replace(syncext.html(coalesce(value, ''), most), '<bdi>', ''), '</bdi>', '');
COMMENT ON FUNCTION syncext.html_plain(text, integer) IS 'a value as text in an SVG picture';

CREATE FUNCTION syncext.report_age(seconds numeric) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN seconds IS NULL THEN '&#8211;'
	            WHEN seconds < 1 THEN 'now'
	            WHEN seconds < 120 THEN round(seconds) || ' s'
	            WHEN seconds < 7200 THEN round(seconds / 60) || ' min'
	            WHEN seconds < 172800 THEN round(seconds / 3600) || ' h'
	            ELSE round(seconds / 86400) || ' days' END;
COMMENT ON FUNCTION syncext.report_age(numeric) IS 'a duration, as people say it';

CREATE FUNCTION syncext.report_style() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$ SELECT '
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1a1f2b;--soft:#5b6472;--line:#e2e6ec;--accent:#2f5fd0;--bad:#c0312b;--warn:#a86400;--good:#1f7a4a;--bad-bg:#fdecea;--warn-bg:#fdf3e0;--good-bg:#e6f5ec;--info-bg:#eaf0fc;--c1:#2f5fd0;--c2:#8aa9ee;--c3:#d9822b;--c4:#9aa3b2;--code:#f0f2f6}
@media(prefers-color-scheme:dark){:root{--page:#0f131a;--card:#181e28;--ink:#e7eaf0;--soft:#9aa4b4;--line:#2a3240;--accent:#7ea4ff;--bad:#ff8a80;--warn:#f2b457;--good:#6fd39b;--bad-bg:#3a1d1d;--warn-bg:#35290f;--good-bg:#14301f;--info-bg:#1b2740;--c1:#6d97ff;--c2:#33508f;--c3:#f0a04b;--c4:#667184;--code:#10151d}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;-webkit-text-size-adjust:100%;overflow-wrap:anywhere}
main{max-width:68rem;margin:0 auto;padding:1.25rem 1rem 3rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;justify-content:space-between;margin-bottom:1rem}
h1{font-size:1.5rem;line-height:1.2;margin:0;letter-spacing:-.01em}
h2{font-size:1.0625rem;margin:0 0 .75rem;letter-spacing:-.005em}
h2 small{font-weight:400;color:var(--soft);font-size:.875rem;margin-left:.375rem}
p{margin:0}
.meta,.soft{color:var(--soft);font-size:.875rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin-bottom:.75rem}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:12px}
.tile{padding:.75rem 1rem}
.tile b{display:block;font-size:1.625rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.8125rem}
.tile.bad b{color:var(--bad)}.tile.warn b{color:var(--warn)}.tile.good b{color:var(--good)}
section{padding:1rem;margin-top:.75rem;min-width:0}
.pair{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.75rem}
@media(max-width:52rem){.pair{grid-template-columns:minmax(0,1fr);gap:0}}
ul{list-style:none;margin:0;padding:0}
.issue{display:grid;grid-template-columns:5rem minmax(0,1fr);gap:.125rem .75rem;padding:.625rem 0;border-top:1px solid var(--line)}
.issue:first-child{border-top:0;padding-top:0}.issue:last-child{padding-bottom:0}
.issue>div{min-width:0}
.hint{color:var(--soft);font-size:.875rem;margin-top:.125rem}
.tag{display:inline-block;justify-self:start;align-self:start;font-size:.75rem;font-weight:600;line-height:1.5;padding:.0625rem .5rem;border-radius:99px;background:var(--info-bg);color:var(--accent)}
.tag.error,.tag.failed,.tag.stopped,.tag.dead{background:var(--bad-bg);color:var(--bad)}
.tag.warning,.tag.retrying,.tag.interrupted,.tag.disabled{background:var(--warn-bg);color:var(--warn)}
.tag.good,.tag.done{background:var(--good-bg);color:var(--good)}
code{font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;background:var(--code);border:1px solid var(--line);border-radius:6px;padding:.125rem .375rem;display:inline-block;max-width:100%;overflow-wrap:anywhere}
.conflict{border-top:1px solid var(--line);padding:.75rem 0}
.conflict:first-of-type{border-top:0;padding-top:0}.conflict:last-of-type{padding-bottom:0}
.conflict h3 .soft{font-weight:400}
dl{margin:0}.conflict .hint{margin-top:.375rem}
.conflict h3{font-size:.9375rem;margin:0 0 .375rem;font-weight:600}
.sides{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.5rem}
.sides>div{border:1px solid var(--line);border-radius:8px;padding:.375rem .625rem;min-width:0}
.sides dt{color:var(--soft);font-size:.75rem}.sides dd{margin:0;font-weight:550}
.sides .theirs{border-left:3px solid var(--c3)}.sides .ours{border-left:3px solid var(--c1)}.sides .now{border-left:3px solid var(--c4)}
@media(max-width:34rem){.sides{grid-template-columns:minmax(0,1fr);gap:.25rem}.issue{grid-template-columns:minmax(0,1fr);gap:.25rem}}
.chart{display:flex;align-items:stretch;gap:2px;height:9rem;border-bottom:1px solid var(--line)}
.chart>div{flex:1 1 0;min-width:0;display:flex;flex-direction:column;justify-content:flex-end}
.chart i{display:block;min-height:1px}.chart i:first-child{border-radius:3px 3px 0 0}
.hours{display:flex;justify-content:space-between;color:var(--soft);font-size:.75rem;padding-top:.25rem;font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.8125rem;color:var(--soft);margin-bottom:.625rem}
.legend i{display:inline-block;width:.6875rem;height:.6875rem;border-radius:3px;margin-right:.375rem;vertical-align:-1px}
.c1{background:var(--c1)}.c2{background:var(--c2)}.c3{background:var(--c3)}.c4{background:var(--c4)}
.lag{display:grid;grid-template-columns:minmax(4rem,10rem) minmax(0,1fr) auto;gap:.375rem .75rem;align-items:center}
.lag .bar{background:var(--code);border-radius:99px;height:.625rem;overflow:hidden}.lag .bar i{display:block;height:100%;border-radius:99px;background:var(--c1)}.lag .bar i.late{background:var(--bad)}
.lag span{font-size:.8125rem;color:var(--soft);text-align:right;font-variant-numeric:tabular-nums}
.row{border-top:1px solid var(--line);padding:.5rem 0}.row:first-of-type{border-top:0;padding-top:0}.row:last-of-type{padding-bottom:0}
.row p+p{margin-top:.125rem}
svg{display:block;width:100%;height:auto;font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
svg.wide{max-width:60rem;margin:0 auto}svg.narrow{display:none;max-width:24rem;margin:0 auto}
@media(max-width:44rem){svg.wide{display:none}svg.narrow{display:block}}
svg rect{fill:var(--card);stroke:var(--line)}svg .hub rect{fill:var(--accent);stroke:none}svg text{fill:var(--ink)}svg .hub text{fill:var(--card);font-weight:600}svg .soft{fill:var(--soft);font-size:11.5px}
svg path{fill:none;stroke:var(--c4);stroke-width:1.5}svg path.link{stroke:var(--accent);stroke-dasharray:5 4}svg path.table{stroke:var(--accent)}
footer{color:var(--soft);font-size:.8125rem;margin-top:1rem}
@media print{body{background:#fff}.tile,section{break-inside:avoid}}
' $$;
COMMENT ON FUNCTION syncext.report_style() IS 'how the report looks: its style sheet';

-- The sources around the hub; in two columns, or in one for a telephone.
CREATE FUNCTION syncext.report_picture(sources jsonb, hub text, columns integer) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	WITH node AS (
		SELECT s.value AS v, (s.ordinality - 1) % columns AS side, (s.ordinality - 1) / columns AS line
		FROM jsonb_array_elements(sources) WITH ORDINALITY s
	), size AS (
		SELECT (SELECT count(*) FROM node WHERE side = 0) * 58 AS height, CASE columns WHEN 1 THEN 352 ELSE 840 END AS width
	), place AS (
		SELECT n.v, n.side,
		       CASE WHEN columns = 1 THEN 130 WHEN n.side = 0 THEN 1 ELSE 579 END AS x,
		       CASE columns WHEN 1 THEN 221 ELSE 260 END AS w,
		       n.line * 58 + 5 + CASE WHEN n.side = 1 AND (SELECT count(*) FROM node) % 2 = 1 THEN 29 ELSE 0 END AS y
		FROM node n
	), hub_box AS (
		SELECT CASE columns WHEN 1 THEN 1 ELSE 345 END AS x, CASE columns WHEN 1 THEN 88 ELSE 150 END AS w, height / 2 AS middle, least(height - 10, 120) AS h FROM size
	)
	SELECT format('<svg class="%s" viewBox="0 0 %s %s" role="img" aria-label="The hub and its sources">', CASE columns WHEN 1 THEN 'narrow' ELSE 'wide' END, s.width, s.height) ||
	       string_agg(format('<path class="%s" d="M%s %s C%s %s %s %s %s %s"/>', p.v->>'kind',
	                         CASE WHEN columns = 1 OR p.side = 1 THEN b.x + b.w ELSE b.x END, b.middle,
	                         CASE WHEN columns = 1 THEN b.x + b.w + 22 WHEN p.side = 1 THEN b.x + b.w + 42 ELSE b.x - 42 END, b.middle,
	                         CASE WHEN columns = 1 THEN p.x - 22 WHEN p.side = 1 THEN p.x - 42 ELSE p.x + p.w + 42 END, p.y + 24,
	                         CASE WHEN columns = 1 OR p.side = 1 THEN p.x ELSE p.x + p.w END, p.y + 24), '') ||
	       string_agg(format('<g><rect x="%s" y="%s" width="%s" height="48" rx="10"/><text x="%s" y="%s">%s</text><text class="soft" x="%s" y="%s">%s</text></g>',
	                         p.x, p.y, p.w, p.x + 14, p.y + 20, syncext.html_plain(p.v->>'name', CASE columns WHEN 1 THEN 20 ELSE 30 END),
	                         p.x + 14, p.y + 37, syncext.html_plain(p.v->>'what', CASE columns WHEN 1 THEN 32 ELSE 40 END)), '') ||
	       format('<g class="hub"><rect x="%s" y="%s" width="%s" height="%s" rx="14"/><text x="%s" y="%s" text-anchor="middle">hub</text><text x="%s" y="%s" text-anchor="middle" font-size="11">%s</text></g></svg>',
	              b.x, b.middle - b.h / 2, b.w, b.h, b.x + b.w / 2, b.middle - 2, b.x + b.w / 2, b.middle + 15, syncext.html_plain(hub, CASE columns WHEN 1 THEN 12 ELSE 20 END))
	FROM place p, hub_box b, size s
	GROUP BY s.width, s.height, b.x, b.w, b.middle, b.h
	$$;
COMMENT ON FUNCTION syncext.report_picture(jsonb, text, integer) IS 'the hub and its sources as an SVG picture of one or two columns';

-- Hours from old to new, each of four kinds of end.
CREATE FUNCTION syncext.report_chart(hours jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	WITH h AS (
		SELECT x.value AS v, x.ordinality AS n, (SELECT sum((e.value)::bigint) FROM jsonb_array_elements_text(x.value->'n') e) AS total
		FROM jsonb_array_elements(hours) WITH ORDINALITY x
	), most AS (
		SELECT greatest(max(total), 1) AS total FROM h
	)
	SELECT '<div class="legend"><span><i class="c1"></i>written</span><span><i class="c2"></i>merged or by rank</span><span><i class="c3"></i>left to a steward</span><span><i class="c4"></i>set aside</span></div>' ||
	       '<div class="chart" role="img" aria-label="Changes an hour">' ||
	       string_agg(format('<div title="%s: %s">', h.v->>'hour', h.total) ||
	                  (SELECT coalesce(string_agg(format('<i class="c%s" style="height:%s%%"></i>', e.ordinality, round(100.0 * e.value::bigint / m.total, 2)), '' ORDER BY e.ordinality DESC)
	                                   FILTER (WHERE e.value::bigint > 0), '')
	                   FROM jsonb_array_elements_text(h.v->'n') WITH ORDINALITY e) || '</div>', '' ORDER BY h.n) ||
	       '</div><div class="hours">' || string_agg(format('<span>%s</span>', h.v->>'hour'), '' ORDER BY h.n) FILTER (WHERE h.n % 6 = 1 OR h.n = 24) || '</div>' ||
	       format('<p class="soft">Tallest: %s an hour.</p>', max(m.total) FILTER (WHERE h.total > 0))
	FROM h, most m
	$$;
COMMENT ON FUNCTION syncext.report_chart(jsonb) IS 'changes an hour as a chart of bars';

CREATE FUNCTION syncext.report_section(title text, note text, body text, empty text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '<section><h2>' || title || coalesce('<small>' || note || '</small>', '') || '</h2>' ||
		coalesce(nullif(body, ''), '<p class="soft">' || empty || '</p>') || '</section>';
COMMENT ON FUNCTION syncext.report_section(text, text, text, text) IS 'a section of the report; its arguments are HTML';

-- Both sides of each conflict, and what stands.
CREATE FUNCTION syncext.report_conflicts(conflicts jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT string_agg(
		format('<div class="conflict"><h3>%s %s <span class="soft">%s</span></h3><dl class="sides">'
		       '<div class="theirs"><dt>theirs, %s%s</dt><dd>%s</dd></div><div class="ours"><dt>ours, %s</dt><dd>%s</dd></div><div class="now"><dt>now, %s</dt><dd>%s</dd></div></dl>'
		       '<p class="hint">No. %s, since %s%s%s</p></div>',
		       syncext.html(c.value->>'entity', 40), syncext.html(c.value->>'external_id', 60), syncext.html(CASE c.value->>'field' WHEN '*' THEN 'the whole record' ELSE c.value->>'field' END, 60),
		       syncext.html(c.value->>'source', 40), coalesce(' at ' || nullif(syncext.html(c.value->>'theirs_at', 32), ''), ''), coalesce(nullif(syncext.html(c.value->>'theirs'), ''), '<span class="soft">nothing</span>'),
		       syncext.html(c.value->>'ours_source', 40), coalesce(nullif(syncext.html(c.value->>'ours'), ''), '<span class="soft">nothing</span>'),
		       coalesce(nullif(syncext.html(c.value->>'now_source', 40), ''), 'gone'), coalesce(nullif(syncext.html(c.value->>'now'), ''), '<span class="soft">nothing</span>'),
		       syncext.html(c.value->>'conflict_id', 20), syncext.html(c.value->>'since', 20),
		       CASE WHEN jsonb_array_length(c.value->'disputed_by') > 1 THEN ', disputed by ' || syncext.html((SELECT string_agg(d, ', ') FROM jsonb_array_elements_text(c.value->'disputed_by') d), 120) ELSE '' END,
		       coalesce(', for ' || nullif(syncext.html(c.value->>'assigned_to', 40), ''), '')), '' ORDER BY c.ordinality)
	FROM jsonb_array_elements(conflicts) WITH ORDINALITY c
	$$;
COMMENT ON FUNCTION syncext.report_conflicts(jsonb) IS 'conflicts as HTML, both sides beside each other';

-- The page, from what was read.
CREATE FUNCTION syncext.report_page(d jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">' ||
		'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''"><meta name="referrer" content="no-referrer">' ||
		'<title>syncext: ' || syncext.html_plain(d->>'database', 63) || '</title><style>' || syncext.report_style() || '</style></head><body><main>' ||
		format('<header><h1>%s</h1><p class="meta">%s, as seen by %s</p></header>', syncext.html(d->>'database', 63), syncext.html(d->>'at', 40), syncext.html(d->>'role', 63)) ||
		'<div class="tiles">' ||
		format('<div class="tile %s"><b>%s</b><span>%s</span></div>', CASE WHEN (d->>'errors')::int > 0 THEN 'bad' WHEN (d->>'warnings')::int > 0 THEN 'warn' ELSE 'good' END,
		       CASE WHEN (d->>'errors')::int + (d->>'warnings')::int = 0 THEN 'Well' ELSE ((d->>'errors')::int + (d->>'warnings')::int)::text END,
		       CASE WHEN (d->>'errors')::int + (d->>'warnings')::int = 0 THEN 'nothing needs looking at' ELSE format('need looking at%s', CASE d->>'errors' WHEN '0' THEN '' WHEN '1' THEN ', one as an error' ELSE format(', %s as errors', d->>'errors') END) END) ||
		CASE WHEN d ? 'nconflicts' THEN format('<div class="tile %s"><b>%s</b><span>conflicts to decide</span></div>', CASE WHEN (d->>'nconflicts')::int > 0 THEN 'warn' ELSE 'good' END, d->>'nconflicts') ELSE '' END ||
		CASE WHEN d ? 'lag' THEN format('<div class="tile"><b>%s</b><span>behind, the hindmost target</span></div>', syncext.report_age((SELECT max((l->>'seconds')::numeric) FROM jsonb_array_elements(d->'lag') l))) ELSE '' END ||
		CASE WHEN d ? 'ndead' THEN format('<div class="tile %s"><b>%s</b><span>dead letters</span></div>', CASE WHEN (d->>'ndead')::int > 0 THEN 'bad' ELSE 'good' END, d->>'ndead') ELSE '' END ||
		'</div>' ||
		syncext.report_section('Look at this first', CASE WHEN (d->>'nproblems')::int > jsonb_array_length(d->'problems') THEN format('the first %s of %s', jsonb_array_length(d->'problems'), d->>'nproblems') END,
			(SELECT '<ul>' || string_agg(format('<li class="issue"><span class="tag %s">%s</span><div><p><b>%s</b> %s</p>%s</div></li>', CASE p->>'severity' WHEN 'error' THEN 'error' WHEN 'warning' THEN 'warning' ELSE 'info' END,
			        syncext.html(p->>'severity', 12), syncext.html(p->>'object', 100), syncext.html(p->>'problem', 400), coalesce('<p class="hint">' || nullif(syncext.html(p->>'hint', 500), '') || '</p>', '')), '' ORDER BY n) || '</ul>'
			 FROM jsonb_array_elements(d->'problems') WITH ORDINALITY x(p, n)), 'sync_check() has nothing to say: all is well.') ||
		CASE WHEN d ? 'sources' THEN syncext.report_section('Topology', CASE WHEN (d->>'nsources')::int > jsonb_array_length(d->'sources') THEN format('the first %s of %s sources', jsonb_array_length(d->'sources'), d->>'nsources')
			ELSE format('%s source%s', d->>'nsources', CASE d->>'nsources' WHEN '1' THEN '' ELSE 's' END) END,
			CASE WHEN jsonb_array_length(d->'sources') > 0 THEN syncext.report_picture(d->'sources', d->>'database', 2) || syncext.report_picture(d->'sources', d->>'database', 1) END,
			'There are no sources yet: SELECT sync_add_source(&#8230;) adds one.') ELSE '' END ||
		CASE WHEN d ? 'conflicts' THEN syncext.report_section('Conflicts', CASE WHEN jsonb_array_length(d->'conflicts') < (d->>'nfields')::int THEN format('%s contested fields, the oldest %s shown', d->>'nfields', jsonb_array_length(d->'conflicts')) END,
			syncext.report_conflicts(d->'conflicts'), 'Nothing waits for a decision.') ELSE '' END ||
		CASE WHEN d ? 'hours' THEN syncext.report_section('Changes an hour', 'the last 24 hours, UTC', syncext.report_chart(d->'hours'), '') ELSE '' END ||
		'<div class="pair">' ||
		CASE WHEN d ? 'lag' THEN syncext.report_section('How far behind', 'by target', (
			SELECT '<div class="lag">' || string_agg(format('<div>%s</div><div class="bar"><i%s style="width:%s%%"></i></div><span>%s%s</span>', syncext.html(l->>'source', 60),
			       CASE WHEN (l->>'seconds')::numeric > 3600 THEN ' class="late"' ELSE '' END,
			       round(least(100, greatest(CASE WHEN (l->>'seconds')::numeric > 0 THEN 2 ELSE 0 END, 100 * ln(1 + (l->>'seconds')::numeric) / 11.3668))::numeric, 1),
			       syncext.report_age((l->>'seconds')::numeric), CASE WHEN (l->>'changes')::bigint > 0 THEN format(', %s', l->>'changes') ELSE '' END), '' ORDER BY n) || '</div>'
			FROM jsonb_array_elements(d->'lag') WITH ORDINALITY x(l, n)), 'There is no target.') ELSE '' END ||
		CASE WHEN d ? 'jobs' OR d ? 'links' THEN syncext.report_section('Jobs and links', NULL, (
			SELECT string_agg(format('<div class="row"><p><b>%s</b> <span class="tag %s">%s</span></p><p class="soft">%s</p></div>', syncext.html(j->>'what', 100),
			       CASE WHEN j->>'state' ~ '^[a-z]+$' THEN j->>'state' ELSE 'info' END, syncext.html(j->>'state', 20), syncext.html(j->>'more', 300)), '' ORDER BY n)
			FROM jsonb_array_elements(coalesce(d->'links', '[]') || coalesce(d->'jobs', '[]')) WITH ORDINALITY x(j, n)), 'Nothing is linked or scheduled.') ELSE '' END ||
		'</div>' ||
		CASE WHEN d ? 'dead' THEN syncext.report_section('Dead letters', CASE WHEN jsonb_array_length(d->'dead') < (d->>'ndead')::int THEN format('the oldest %s of %s', jsonb_array_length(d->'dead'), d->>'ndead') END, (
			SELECT string_agg(format('<div class="row"><p><b>%s %s</b> <span class="soft">%s, for %s, since %s</span></p><p>%s</p><p><code>%s</code></p></div>',
			       syncext.html(l->>'entity', 40), syncext.html(l->>'external_id', 60), syncext.html(l->>'kind', 20), syncext.html(l->>'source', 60), syncext.html(l->>'since', 20),
			       syncext.html(l->>'error', 300), syncext.html(l->>'redrive', 300)), '' ORDER BY n)
			FROM jsonb_array_elements(d->'dead') WITH ORDINALITY x(l, n)), 'Nothing was given up.') ELSE '' END ||
		CASE WHEN d ? 'sources' THEN '' ELSE '<section><p class="soft">' || syncext.html(d->>'role', 63) || ' sees what concerns its own sources and entities; a monitor sees the hub as a whole: SELECT sync_grant(&#8230;, ''monitor'').</p></section>' END ||
		'<footer>syncext ' || syncext.html(d->>'version', 20) || ', ' || syncext.html(d->>'server', 80) || '. Made with SELECT sync_report().</footer></main></body></html>'
	$$;
COMMENT ON FUNCTION syncext.report_page(jsonb) IS 'the report as HTML, from what sync_report has read';

-- Read as the caller: what it may not read is left out.
CREATE FUNCTION @extschema@.sync_report() RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	d jsonb := jsonb_build_object('database', current_database(), 'role', current_user, 'at', to_char(now(), 'YYYY-MM-DD HH24:MI') || ' UTC',
		'version', (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'syncext'), 'server', 'PostgreSQL ' || current_setting('server_version'));
BEGIN
	d := d || (SELECT jsonb_build_object('errors', count(*) FILTER (WHERE c.severity = 'error'), 'warnings', count(*) FILTER (WHERE c.severity = 'warning'), 'nproblems', count(*),
			'problems', coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.n) FILTER (WHERE c.n <= 60), '[]'))
		FROM (SELECT p.*, row_number() OVER () AS n FROM @extschema@.sync_check() p) c);
	IF syncext.may_decide(NULL) OR has_table_privilege('syncext.conflict_log', 'SELECT') THEN
		d := d || (SELECT jsonb_build_object('nfields', count(*), 'nconflicts', count(DISTINCT c.conflict_id)) FROM syncext.conflict c)
		       || (SELECT jsonb_build_object('conflicts', coalesce(jsonb_agg(to_jsonb(c) || jsonb_build_object('since', to_char(c.since, 'YYYY-MM-DD HH24:MI'),
		                  'theirs', left(c.theirs #>> '{}', 400), 'ours', left(c.ours #>> '{}', 400), 'now', left(c.now #>> '{}', 400)) ORDER BY c.since, c.conflict_id, c.field), '[]'))
		           FROM (SELECT * FROM syncext.conflict o ORDER BY o.since, o.conflict_id, o.field LIMIT 20) c);
	END IF;
	IF syncext.may_monitor() THEN
		d := d || (SELECT jsonb_build_object('hours', jsonb_agg(jsonb_build_object('hour', to_char(h.hour, 'HH24:MI'), 'n', jsonb_build_array(
				coalesce((SELECT sum(r.changes) FROM syncext.hourly r WHERE r.hour = h.hour AND r.resolution IN ('NEW_RECORD', 'VERSION_WIN', 'LATEST_WIN', 'OVERWRITE', 'RESOLVED', 'FIELD_WIN', 'CAPTURED')), 0),
				coalesce((SELECT sum(r.changes) FROM syncext.hourly r WHERE r.hour = h.hour AND r.resolution IN ('FIELD_MERGE', 'FIELD_RULE', 'PRIORITY_WIN')), 0),
				coalesce((SELECT sum(r.changes) FROM syncext.hourly r WHERE r.hour = h.hour AND r.resolution = 'MANUAL'), 0),
				coalesce((SELECT sum(r.changes) FROM syncext.hourly r WHERE r.hour = h.hour AND r.resolution NOT IN ('NEW_RECORD', 'VERSION_WIN', 'LATEST_WIN', 'OVERWRITE', 'RESOLVED', 'FIELD_WIN', 'CAPTURED', 'FIELD_MERGE', 'FIELD_RULE', 'PRIORITY_WIN', 'MANUAL')), 0))) ORDER BY h.hour))
			FROM generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour') h(hour));
	END IF;
	IF has_table_privilege('syncext.source', 'SELECT') AND has_table_privilege('syncext.binding', 'SELECT') AND has_table_privilege('syncext.link', 'SELECT') THEN
		d := d || (SELECT jsonb_build_object('nsources', count(*), 'sources', coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'kind', s.kind, 'what', s.what) ORDER BY s.name) FILTER (WHERE s.n <= 30), '[]'))
			FROM (SELECT s.name, row_number() OVER (ORDER BY s.name) AS n,
			             CASE WHEN l.name IS NOT NULL THEN 'link' WHEN b.n > 0 THEN 'table' ELSE 'client' END AS kind,
			             CASE WHEN l.name IS NOT NULL THEN format('link %s to %s', l.name, l.server) || CASE WHEN b.n > 0 THEN format(', %s table%s', b.n, CASE b.n WHEN 1 THEN '' ELSE 's' END) ELSE '' END
			                  WHEN b.n = 1 THEN format('%s, %s', b.one, CASE b.capture WHEN 'trigger' THEN 'captured' WHEN 'poll' THEN 'polled' ELSE 'delivered to' END)
			                  WHEN b.n > 1 THEN format('%s tables', b.n)
			                  WHEN s.entities = '{}' THEN 'sends only' ELSE 'applies and pulls' END AS what
			      FROM syncext.source s
			      LEFT JOIN syncext.link l ON l.source = s.name
			      LEFT JOIN LATERAL (SELECT count(*) AS n, min(coalesce(k.name, k.relation::text)) AS one, min(k.capture) AS capture FROM syncext.binding k WHERE k.source = s.name) b ON true) s);
	END IF;
	IF has_table_privilege('syncext.feed_lag', 'SELECT') THEN
		d := d || (SELECT jsonb_build_object('lag', coalesce(jsonb_agg(jsonb_build_object('source', f.source, 'seconds', round(f.seconds, 1), 'changes', f.changes) ORDER BY f.seconds DESC, f.source), '[]'))
			FROM (SELECT * FROM syncext.feed_lag g ORDER BY g.seconds DESC, g.source LIMIT 30) f);
	END IF;
	IF has_table_privilege('syncext.dead_letter', 'SELECT') THEN
		d := d || (SELECT jsonb_build_object('ndead', count(*)) FROM syncext.dead_letter)
		       || (SELECT jsonb_build_object('dead', coalesce(jsonb_agg(to_jsonb(l) || jsonb_build_object('since', to_char(l.dead_since, 'YYYY-MM-DD HH24:MI')) ORDER BY l.dead_since), '[]'))
		           FROM (SELECT * FROM syncext.dead_letter o ORDER BY o.dead_since LIMIT 30) l);
	END IF;
	IF has_table_privilege('syncext.job_status', 'SELECT') THEN
		d := d || (SELECT jsonb_build_object('jobs', coalesce(jsonb_agg(jsonb_build_object('what', format('%s %s', j.job, j.relation), 'state', coalesce(j.status, 'scheduled'),
		                  'more', concat_ws(', ', j.cron, 'last ' || to_char(j.started_at, 'YYYY-MM-DD HH24:MI'), j.error)) ORDER BY j.relation::text, j.job), '[]'))
		           FROM (SELECT * FROM syncext.job_status o ORDER BY o.relation::text, o.job LIMIT 40) j);
	END IF;
	d := d || (SELECT jsonb_build_object('links', coalesce(jsonb_agg(jsonb_build_object('what', format('link %s', l.link), 'state', l.state,
	                  'more', concat_ws(', ', format('source %s', l.source), 'last exchange ' || to_char(l.last_exchange, 'YYYY-MM-DD HH24:MI'), nullif(l.unanswered, 0) || ' unanswered', l.last_error)) ORDER BY l.link), '[]'))
	           FROM (SELECT * FROM syncext.link_status o ORDER BY o.link LIMIT 40) l);
	RETURN syncext.report_page(d);
END $$;
COMMENT ON FUNCTION @extschema@.sync_report() IS
	'the hub on one page of HTML: what needs looking at, topology, conflicts, changes an hour, lag, dead letters, jobs and links, as far as the caller may see them';
