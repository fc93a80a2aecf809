-- Who may do what with all of the above.  This is the whole of it, whatever the
-- default privileges of the creating role would add or take: what isn't
-- named here is its owner's alone, to use or to grant.

DO $$
DECLARE
	o record;
BEGIN
	FOR o IN
		SELECT i.type, i.identity, quote_ident(r.rolname) AS grantee
		FROM pg_depend d
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
		LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
		CROSS JOIN LATERAL (
			SELECT 'public' AS rolname
			UNION ALL
			SELECT a.rolname
			FROM aclexplode(coalesce(c.relacl, p.proacl, n.nspacl)) x
			JOIN pg_roles a ON a.oid = x.grantee
			WHERE x.grantee <> coalesce(c.relowner, p.proowner, n.nspowner)) r
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		  AND i.type IN ('table', 'view', 'sequence', 'function', 'procedure', 'schema')
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
		               CASE o.type WHEN 'view' THEN 'table' WHEN 'function' THEN 'routine' WHEN 'procedure' THEN 'routine' ELSE o.type END,
		               o.identity, o.grantee);
	END LOOP;
END $$;

GRANT USAGE ON SCHEMA syncext TO PUBLIC;

-- Each row or answer is shown only to roles that may see it.
GRANT SELECT ON syncext.candidate, syncext.conflict, syncext.history, syncext.hourly, syncext.link_status, syncext.problem TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_check(),
	@extschema@.sync_report(),
	@extschema@.sync_history(text, text, text, text),
	@extschema@.sync_record(text, text, text, text),
	syncext.cron_job_active(text, text),
	syncext.may_see(text, text, text, jsonb),
	syncext.problems(),
	syncext.stat_place(),
	syncext.stat_rows("char"),
	syncext.link_activity(),
	syncext.log_kinds(xid8),
	syncext.is_told("char", boolean),
	syncext.may_act_as(text),
	syncext.may_decide(text),
	syncext.may_monitor(),
	syncext.stamp_part(jsonb, text, integer)
TO PUBLIC;

-- What a steward calls; they ask for that, or for EXECUTE that was granted by name.
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_assign(bigint, text),
	@extschema@.sync_match_decide(bigint, text, text),
	@extschema@.sync_merge(text, text, text, text),
	@extschema@.sync_rehearse(text, jsonb, jsonb, text[], timestamptz),
	@extschema@.sync_reopen(bigint),
	@extschema@.sync_resolve(bigint, text, jsonb, text),
	@extschema@.sync_resolve_where(text, text, text, text, interval, jsonpath, integer, text),
	@extschema@.sync_split(text, text, text, text),
	@extschema@.sync_unmerge(bigint, text)
TO PUBLIC;

-- What a source calls; they ask for its role.
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_ack(text, bigint, jsonb, integer, jsonb),
	@extschema@.sync_apply(jsonb),
	@extschema@.sync_bind(text, text, text, text),
	@extschema@.sync_deliver(text, integer),
	@extschema@.sync_explain(jsonb),
	@extschema@.sync_listen(text),
	@extschema@.sync_pull(text, integer, integer, integer),
	@extschema@.sync_push(text, text, jsonb),
	@extschema@.sync_unbind(text, text, text),
	syncext.hub_ack(text, bigint, jsonb),
	syncext.hub_behind(text),
	syncext.hub_compare(text, text, jsonb, timestamptz, boolean, bigint, jsonb),
	syncext.hub_greatest_keys(text),
	syncext.hub_hello(text, jsonb),
	syncext.hub_keys(text, jsonb),
	syncext.hub_listen(text),
	syncext.hub_pull(text, integer, integer),
	syncext.record_of_key(text, text, text)
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.sync_exchange(text, jsonb), @extschema@.sync_wait(text, interval, boolean) TO PUBLIC;

-- What the owner of a relation calls; they ask for that, and for the source's role.
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_attach(regclass, text, text, text[], jsonb, text, text, text, text, text, boolean, text),
	@extschema@.sync_detach(regclass),
	@extschema@.sync_schedule(regclass, text, text),
	@extschema@.sync_unschedule(regclass)
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE
	@extschema@.sync_load(regclass, text, boolean, jsonb),
	@extschema@.sync_poll(regclass, boolean, jsonb),
	syncext.catch_up(jsonb),
	syncext.run_job(regclass, text, bigint, jsonb)
TO PUBLIC;

-- The server asks for it where a partition is given the trigger of its table, by the owner of
-- both; see local/own_trigger for what it refuses to be used for.
GRANT EXECUTE ON FUNCTION syncext.capture() TO PUBLIC;

-- What reads nothing but its arguments, the settings and the server's catalogs.
GRANT EXECUTE ON FUNCTION
	syncext.callable(text),
	syncext.cron_error(text),
	syncext.cron_next_due(text, timestamptz),
	syncext.duration(text),
	syncext.filter_error(jsonpath, jsonb),
	syncext.html(text, integer),
	syncext.html_plain(text, integer),
	syncext.report_age(numeric),
	syncext.report_chart(jsonb),
	syncext.report_conflicts(jsonb),
	syncext.report_page(jsonb),
	syncext.report_picture(jsonb, text, integer),
	syncext.report_section(text, text, text, text),
	syncext.report_style(),
	syncext.identity_case(jsonb, jsonb, boolean, boolean),
	syncext.ladder_error(text[]),
	syncext.record_slot(text, text, integer),
	syncext.is_own_column(text, text),
	syncext.shape_of(syncext.binding),
	syncext.known_columns(syncext.binding),
	syncext.left_partitions(syncext.binding),
	syncext.holds_as_much(jsonb, jsonb),
	syncext.resolution_name("char"),
	syncext.rule_function(text, text),
	syncext.rule_function_error(text, text, text),
	syncext.told_name("char"),
	syncext.log_detail(jsonb, bigint, timestamptz)
TO PUBLIC;
