-- What an administrator or a source's owner should look at: sync_check().

-- Whoever reads the view calls this: it tells of the job that is asked for, and
-- lists none.
CREATE FUNCTION syncext.cron_job_active(name text, role text) RETURNS boolean
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF $1 LIKE 'syncext: %' AND syncext.cron_is_here() THEN
		RETURN (SELECT bool_or(j.active) FROM cron.job j
		        WHERE j.database = current_database() AND j.jobname = $1 AND j.username = $2);
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.cron_job_active(text, text) IS
	'is pg_cron''s job that sync_schedule has added for a role active? Null: there is none';

-- For whom event triggers are off by what outlasts a session: servers from 17 on have the
-- setting, and of what a session sets for itself nobody else can know.
CREATE VIEW syncext.event_triggers_off AS
	WITH kept AS (
		SELECT d.datname, r.rolname, s.setdatabase, s.setrole
		FROM pg_catalog.pg_db_role_setting s
		LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
		LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
		WHERE (s.setdatabase = 0 OR d.datname = pg_catalog.current_database())
		  AND EXISTS (SELECT FROM pg_catalog.unnest(s.setconfig) c
		              WHERE c ~* '^event_triggers=(of|off|f|fa|fal|fals|false|n|no|0)$')
	)
	SELECT CASE WHEN k.setrole = 0 AND k.setdatabase = 0 THEN 'for all roles'
	            WHEN k.setrole = 0 THEN 'in this database'
	            ELSE pg_catalog.format('for role %I', k.rolname) END AS whose,
	       CASE WHEN k.setrole = 0 AND k.setdatabase = 0 THEN 'ALTER ROLE ALL RESET event_triggers'
	            WHEN k.setrole = 0 THEN pg_catalog.format('ALTER DATABASE %I RESET event_triggers', k.datname)
	            ELSE pg_catalog.format('ALTER ROLE %I%s RESET event_triggers', k.rolname, ' IN DATABASE ' || pg_catalog.quote_ident(k.datname)) END AS mend
	FROM kept k
	UNION ALL
	SELECT 'in the server''s configuration', 'Set it on in postgresql.conf, or ALTER SYSTEM RESET event_triggers, then SELECT pg_reload_conf()'
	FROM pg_catalog.pg_settings s
	WHERE s.name = 'event_triggers' AND s.reset_val = 'off' AND NOT EXISTS (SELECT FROM kept);
COMMENT ON VIEW syncext.event_triggers_off IS
	'for whom event triggers are off by a setting that outlasts a session (PostgreSQL 17 and later)';
COMMENT ON COLUMN syncext.event_triggers_off.whose IS 'for a role, in this database, or by the configuration';
COMMENT ON COLUMN syncext.event_triggers_off.mend IS 'what sets them on';

-- Each part looks at few rows: at the exceptions, at configuration, and at the
-- change log as far as the first row that a source should have got long ago.
CREATE VIEW syncext.problem WITH (security_barrier) AS
	WITH reader AS (
		SELECT syncext.may_monitor() AS sees_all
	), job AS (
		SELECT s.*, pg_catalog.format('%s %s %s', s.job, CASE s.job WHEN 'deliver' THEN 'to' ELSE 'of' END, s.relation) AS object,
		       CASE s.job WHEN 'load' THEN pg_catalog.format('CALL sync_load(%L)', s.relation)
		                  ELSE pg_catalog.format('CALL syncext.run_job(%L, %L)', s.relation, s.job) END AS call, o.retry_cap
		FROM syncext.job_status s
		JOIN syncext.source o ON o.name = s.source
	), failed_job AS (
		SELECT j.*, CASE WHEN j.failures > 1 THEN pg_catalog.format('failed or was interrupted %s times in a row, last', j.failures)
		                 WHEN j.status = 'interrupted' THEN 'was interrupted' ELSE 'failed' END
		            || pg_catalog.format(' at %s: ', pg_catalog.date_trunc('second', coalesce(j.ended_at, j.started_at)))
		            || coalesce(j.error, 'its session is gone') AS problem
		FROM job j
		WHERE j.status IN ('failed', 'interrupted')
	), dead AS (
		-- what a source's role may not see of its own changes is administrators' to look at
		SELECT d.* FROM syncext.dead_letter d
		WHERE (SELECT r.sees_all FROM reader r)
		   OR CASE d.kind WHEN 'parked'
		           THEN EXISTS (SELECT FROM syncext.waiting w
		                        WHERE w.source = d.source AND w.entity = d.entity AND w.external_id = d.external_id AND w.next_attempt IS NULL
		                          AND syncext.may_see(w.source, w.entity, w.external_id,
		                                         (w.change->'fields') || coalesce(w.change->'increments', '{}')))
		           ELSE syncext.may_see(d.source, d.entity, d.external_id) END
	), part AS (
		-- jobs
		SELECT CASE WHEN j.failures >= j.retry_cap THEN 'error' WHEN j.schedule IS NULL THEN 'warning' ELSE 'info' END AS severity,
		       j.source, j.object, j.problem,
		       CASE WHEN j.failures < j.retry_cap AND j.schedule IS NOT NULL
		            THEN pg_catalog.format('It is tried again at %s.', pg_catalog.date_trunc('second', j.next_run))
		            ELSE pg_catalog.format('Mend the cause, then %s. Table syncext.job_run has its runs.', j.call) END AS hint
		FROM failed_job j
		UNION ALL
		SELECT 'error', j.source, j.object,
		       pg_catalog.format('should have run at %s, and has not since%s', pg_catalog.date_trunc('second', j.next_run), ' ' || pg_catalog.date_trunc('second', j.started_at)::text),
		       pg_catalog.format('Does pg_cron run, and may role %s connect? Table cron.job_run_details tells. %s runs it now.', j.role, j.call)
		FROM job j
		WHERE j.missed AND greatest(j.next_run, j.ended_at) < pg_catalog.clock_timestamp() - interval '5 min'
		UNION ALL
		SELECT CASE WHEN c.active IS NULL THEN 'error' ELSE 'warning' END, b.source, pg_catalog.format('schedule of %s', s.relation),
		       CASE WHEN c.active IS NULL THEN 'pg_cron has no such job' ELSE 'pg_cron''s job is not active' END,
		       CASE WHEN c.active IS NULL THEN pg_catalog.format('SELECT sync_schedule(%L, %L, %L) as role %s adds it.', s.relation, s.cron, s.job, s.role)
		            ELSE pg_catalog.format('Activate the job "%s", or SELECT sync_unschedule(%L).', s.name, s.relation) END
		FROM syncext.schedule s
		JOIN syncext.binding b ON b.relation = s.relation
		CROSS JOIN LATERAL (SELECT syncext.cron_job_active(s.name, s.role) AS active) c
		WHERE c.active IS NOT TRUE
		UNION ALL
		SELECT DISTINCT 'warning', b.source, pg_catalog.format('schedules of source %s', b.source),
		       pg_catalog.format('nothing catches up what is missed or fails: pg_cron has no active job "syncext: catch up" of role %s', s.role),
		       'SELECT sync_schedule(...) of any of them adds it.'
		FROM syncext.schedule s
		JOIN syncext.binding b ON b.relation = s.relation
		WHERE syncext.cron_job_active(s.name, s.role) IS NOT NULL
		  AND syncext.cron_job_active('syncext: catch up', s.role) IS NOT TRUE
		UNION ALL
		-- roles that were dropped or renamed, or that a dump came without
		SELECT 'warning', s.name, pg_catalog.format('source %s', s.name),
		       pg_catalog.format('its role %s does not exist: administrators alone may act as it', pg_catalog.quote_ident(s.role)),
		       pg_catalog.format('CREATE ROLE %I, or UPDATE syncext.source SET role = … WHERE name = %L.', s.role, s.name)
		FROM syncext.source s
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = s.role) AND s.role IS NOT NULL
		UNION ALL
		SELECT 'warning', NULL, pg_catalog.format('privilege %s of role %s', p.privilege, pg_catalog.quote_ident(p.role)),
		       CASE WHEN r.oid IS NULL THEN 'the role does not exist' ELSE 'the role lacks what sync_grant gives, as after a restore to where it was missing' END,
		       CASE WHEN r.oid IS NULL THEN pg_catalog.format('CREATE ROLE %I, or SELECT sync_revoke(%L, %L).', p.role, p.role, p.privilege)
		            ELSE pg_catalog.format('SELECT sync_grant(%L, %L).', p.role, p.privilege) END
		FROM (SELECT DISTINCT g.role, g.privilege FROM syncext.privilege g) p
		LEFT JOIN pg_catalog.pg_roles r ON r.rolname = p.role
		WHERE r.oid IS NULL OR p.privilege <> 'steward' AND NOT pg_catalog.has_table_privilege(r.oid, 'syncext.feed_lag', 'SELECT')
		UNION ALL
		-- GRANTs follow a role that is renamed, what was kept by its name doesn't
		SELECT 'info', NULL, pg_catalog.format('role %s', pg_catalog.quote_ident(r.rolname)),
		       pg_catalog.format('holds what privilege %s gives, which it was not granted, as after it was renamed', w.privilege),
		       pg_catalog.format('SELECT sync_grant(%L, %L) keeps it; SELECT sync_revoke(%L, %L) after that takes it back.', r.rolname, w.privilege, r.rolname, w.privilege)
		FROM (SELECT a.grantee, CASE WHEN bool_or(a.privilege_type = 'INSERT') THEN 'admin' ELSE 'monitor' END AS privilege
		      FROM pg_catalog.pg_class c
		      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'syncext'
		      CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
		      WHERE a.grantee <> c.relowner
		        AND (a.privilege_type = 'SELECT' AND c.relname IN ('dead_letter', 'feed_lag', 'job_run', 'metric', 'outbound_change')
		             OR a.privilege_type = 'INSERT' AND c.relname = 'entity')
		      GROUP BY a.grantee
		      HAVING count(*) FILTER (WHERE a.privilege_type = 'SELECT') = 5) w
		JOIN pg_catalog.pg_roles r ON r.oid = w.grantee
		WHERE NOT EXISTS (SELECT FROM syncext.privilege p WHERE p.role = r.rolname::text AND p.privilege IN ('monitor', 'admin'))
		UNION ALL
		SELECT 'error', l.source, pg_catalog.format('link %s', l.name),
		       pg_catalog.format('its role %s does not exist: nothing is exchanged', pg_catalog.quote_ident(l.owner)),
		       pg_catalog.format('CREATE ROLE %I LOGIN, with USAGE on server %I and a user mapping; or UPDATE syncext.link SET owner = … WHERE name = %L.', l.owner, l.server, l.name)
		FROM syncext.link l
		WHERE l.enabled AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = l.owner)
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('schedule of %s', s.relation),
		       pg_catalog.format('its role %s does not exist: it does not run', pg_catalog.quote_ident(s.role)),
		       pg_catalog.format('CREATE ROLE %I LOGIN and let it act as source %s; or SELECT sync_schedule(%L, %L, %L) as another.', s.role, b.source, s.relation, s.cron, s.job)
		FROM syncext.schedule s
		JOIN syncext.binding b ON b.relation = s.relation
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = s.role)
		UNION ALL
		SELECT 'info', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format('role %s, which attached it, does not exist: its edits are sent all the same, by nobody''s right', pg_catalog.quote_ident(b.attached_by)),
		       pg_catalog.format('CREATE ROLE %I and let it act as source %s; or UPDATE syncext.binding SET attached_by = NULL, attached_as = NULL WHERE relation = %L::regclass, if it may stay.', b.attached_by, b.source, b.relation)
		FROM syncext.binding b
		WHERE b.attached_by IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = b.attached_by)
		UNION ALL
		-- what others have made of our tables
		SELECT CASE WHEN a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' THEN 'error' ELSE 'info' END,
		       NULL, pg_catalog.format('table syncext.%I', c.relname),
		       CASE WHEN a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
		            THEN pg_catalog.format('has a column %s of your own, NOT NULL and without a default: no row can be added', pg_catalog.quote_ident(a.attname))
		            ELSE pg_catalog.format('has a column %s of your own: it is carried along, and a dump has its values, but cannot be restored before it is added again', pg_catalog.quote_ident(a.attname)) END,
		       CASE WHEN a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
		            THEN pg_catalog.format('ALTER TABLE syncext.%I ALTER COLUMN %I SET DEFAULT …, or DROP NOT NULL.', c.relname, a.attname)
		            ELSE pg_catalog.format('After CREATE EXTENSION, before the rows come: ALTER TABLE syncext.%I ADD COLUMN %I %s.', c.relname, a.attname,
		                                   pg_catalog.format_type(a.atttypid, a.atttypmod)) END
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'syncext'
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind = 'r' AND NOT syncext.is_own_column(c.relname::text, a.attname::text)
		UNION ALL
		SELECT 'error', NULL, pg_catalog.format('table syncext.%I', c.relname),
		       pg_catalog.format('has a trigger %s that could change what was decided, or has no statement to go with: where the hub writes rows of the table, that is refused', pg_catalog.quote_ident(t.tgname)),
		       pg_catalog.format('Let it be AFTER, FOR EACH ROW and without REFERENCING, or DROP TRIGGER %I ON syncext.%I.', t.tgname, c.relname)
		FROM pg_catalog.pg_trigger t
		JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'syncext'
		JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
		WHERE NOT t.tgisinternal AND p.pronamespace <> n.oid AND t.tgtype::integer & 28 <> 0
		  AND (t.tgtype::integer & 3 <> 1 OR t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL)
		  -- these are written with statements alone
		  AND c.relname <> ALL ('{entity,source_priority,field_rule,reference,route,schedule,job_run,job_state,link,link_state,feed_state,entity_floor}')
		UNION ALL
		-- the hub tries a record on canonical's alone before it writes anything
		SELECT 'warning', NULL, pg_catalog.format('table syncext.%I', c.relname),
		       pg_catalog.format('has a CHECK %s of your own: a row that violates it fails all of the call that writes it, but in a batch of changes', pg_catalog.quote_ident(k.conname)),
		       pg_catalog.format('Put it on syncext.canonical, where it refuses a record alone, or ALTER TABLE syncext.%I DROP CONSTRAINT %I.', c.relname, k.conname)
		FROM pg_catalog.pg_constraint k
		JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'syncext'
		WHERE k.contype = 'c' AND c.relname <> 'canonical'
		  -- ours, and those of tables that administrators write
		  AND pg_catalog.obj_description(k.oid, 'pg_constraint') IS DISTINCT FROM 'syncext'
		  AND c.relname <> ALL ('{entity,source_priority,field_rule,match_rule,reference,route,schedule,job_run,job_state,link,link_state,feed_state,entity_floor,privilege,stat_reset}')
		UNION ALL
		-- attached relations
		SELECT 'error', b.source, pg_catalog.format('relation %s', coalesce(b.name, b.relation::oid::text)),
		       'was dropped while it was attached' || CASE WHEN pg_catalog.to_regclass(b.name) IS NULL THEN '' ELSE '; another one of its name stands there, which is not attached' END,
		       pg_catalog.format('SELECT sync_detach(%s)', b.relation::oid) ||
		       CASE WHEN pg_catalog.to_regclass(b.name) IS NULL THEN '.'
		            ELSE pg_catalog.format('; to go on with the new one, sync_attach(%L, %L, %L, ...) and CALL sync_load(%L).', b.name, b.source, b.entity, b.name) END
		FROM syncext.binding b
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = b.relation AND c.reltype = coalesce(b.row_type::oid, c.reltype))
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format('role %s, which attached it, may not act as source %s any more: edits of it are refused', b.attached_by, b.source),
		       CASE WHEN s.role IS NULL OR coalesce(o.rolsuper, false)
		            THEN pg_catalog.format('SELECT sync_detach(%L); or, for it to act as every source, SELECT sync_grant(%L, ''admin'').', b.relation, b.attached_by)
		            ELSE pg_catalog.format('GRANT %s TO %s, or SELECT sync_detach(%L).', s.role, b.attached_by, b.relation) END
		FROM syncext.binding b
		JOIN syncext.source s ON s.name = b.source
		JOIN pg_catalog.pg_roles r ON r.rolname::text = b.attached_by
		LEFT JOIN pg_catalog.pg_roles o ON o.rolname::text = s.role
		LEFT JOIN pg_catalog.pg_roles a ON a.rolname::text = b.attached_as
		WHERE NOT coalesce(pg_catalog.pg_has_role(r.oid, o.oid, 'USAGE'), r.rolsuper)
		  AND NOT coalesce(b.attached_as IS DISTINCT FROM s.role AND pg_catalog.pg_has_role(r.oid, a.oid, 'USAGE'), false)
		  AND NOT EXISTS (SELECT FROM syncext.privilege p JOIN pg_catalog.pg_roles h ON h.rolname::text = p.role
		                  WHERE p.privilege = 'admin' AND pg_catalog.pg_has_role(r.oid, h.oid, 'USAGE'))
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', b.relation), 'has a column "*", which cannot be a field and is not synchronized',
		       pg_catalog.format('Rename the column; or SELECT sync_detach(%L) and sync_attach it with columns that give it another name.', b.relation)
		FROM syncext.binding b
		JOIN pg_catalog.pg_attribute a ON a.attrelid = b.relation AND a.attname = '*' AND a.attnum > 0 AND NOT a.attisdropped
		WHERE b.columns IS NULL AND '*' <> ALL (b.key)
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('relation %s', b.relation),
		       CASE WHEN a.attname IS NULL THEN pg_catalog.format('has no column "%s" any more, which it is attached with', c.name)
		            ELSE pg_catalog.format('column "%s" is of type %s, and cannot serve as %s', c.name, pg_catalog.format_type(a.atttypid, NULL), c.role) END,
		       pg_catalog.format('Give it back what it had, or SELECT sync_detach(%L), sync_attach it as it is now, and CALL sync_load(%L).', b.relation, b.relation)
		FROM syncext.binding b
		JOIN pg_catalog.pg_class r ON r.oid = b.relation
		CROSS JOIN LATERAL (
			SELECT k.name, 'key', NULL::pg_catalog.regtype[] FROM pg_catalog.unnest(b.key) k(name)
			UNION ALL SELECT f.value, 'field', NULL FROM pg_catalog.jsonb_each_text(CASE WHEN pg_catalog.jsonb_typeof(b.columns) = 'object' THEN b.columns END) f
			UNION ALL SELECT b.version_column, 'version_column', '{smallint,integer,bigint}' WHERE b.version_column IS NOT NULL
			UNION ALL SELECT b.updated_column, 'updated_column', '{timestamptz,timestamp}' WHERE b.updated_column IS NOT NULL
			UNION ALL SELECT b.deleted_column, 'deleted_column', '{boolean,timestamptz,timestamp}' WHERE b.deleted_column IS NOT NULL
		) c(name, role, types)
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = b.relation AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped
		WHERE a.attname IS NULL OR c.types IS NOT NULL AND a.atttypid <> ALL (c.types)
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('relation %s', b.relation), 'cannot be worked on: its key or its columns in syncext.binding were edited to what they cannot be',
		       pg_catalog.format('SELECT sync_detach(%L), sync_attach it, and CALL sync_load(%L).', b.relation, b.relation)
		FROM syncext.binding b
		WHERE pg_catalog.cardinality(b.key) = 0 OR EXISTS (SELECT FROM pg_catalog.unnest(b.key) k(name) WHERE k.name IS NULL) OR pg_catalog.jsonb_typeof(b.columns) <> 'object'
		   OR EXISTS (SELECT FROM pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(b.columns) = 'object' THEN b.columns END) f
		              WHERE pg_catalog.jsonb_typeof(f.value) <> 'string' OR f.key = '')
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('table %s', b.relation), 'is not captured: its trigger is missing or disabled',
		       pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER _syncext_capture, or SELECT sync_detach(%L) and sync_attach again; then CALL sync_load(%L).',
		                         b.relation, b.relation, b.relation)
		FROM syncext.binding b
		JOIN pg_catalog.pg_class c ON c.oid = b.relation
		WHERE b.capture = 'trigger'
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
		                  WHERE t.tgrelid = b.relation AND t.tgname = '_syncext_capture' AND t.tgenabled = 'A')
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format('its own triggers set %s to another value whenever the hub''s is delivered: it differs from the hub in that',
		                         (SELECT pg_catalog.string_agg(k.field, ', ' ORDER BY k.field) FROM pg_catalog.jsonb_object_keys(CASE WHEN pg_catalog.jsonb_typeof(b.differing) = 'object' THEN b.differing END) k(field))),
		       pg_catalog.format('Let them leave alone what is delivered, when current_setting(''syncext.inbound'', true) is not empty, or attach it without the column; then UPDATE syncext.binding SET differing = NULL WHERE relation = %L::regclass.', b.relation)
		FROM syncext.binding b
		WHERE b.differing IS NOT NULL
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('table %s', i.inhrelid::pg_catalog.regclass),
		       pg_catalog.format('inherits from attached table %s: its own rows are not synchronized', b.relation),
		       pg_catalog.format('SELECT sync_attach(%L, ...) to a source of its own, or ALTER TABLE %s NO INHERIT %s.',
		                         i.inhrelid::pg_catalog.regclass, i.inhrelid::pg_catalog.regclass, b.relation)
		FROM syncext.binding b
		JOIN pg_catalog.pg_class c ON c.oid = b.relation AND c.relkind = 'r'
		JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relation
		WHERE NOT EXISTS (SELECT FROM syncext.binding o WHERE o.relation = i.inhrelid)
		UNION ALL
		-- partitions of captured tables
		SELECT 'error', b.source, pg_catalog.format('partition %s', p.relid), 'is not captured: its trigger is missing or disabled',
		       pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER _syncext_capture; then CALL sync_load(%L).', p.relid, b.relation)
		FROM syncext.binding b
		CROSS JOIN LATERAL pg_catalog.pg_partition_tree(b.relation) p
		WHERE b.capture = 'trigger' AND p.relid <> b.relation AND p.isleaf
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
		                  WHERE t.tgrelid = p.relid AND t.tgname = '_syncext_capture' AND t.tgenabled = 'A')
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('partition %s', p.relid),
		       'became a partition of an attached table later: the rows that it had by then were not captured',
		       pg_catalog.format('CALL sync_load(%L).', b.relation)
		FROM syncext.binding b
		CROSS JOIN LATERAL pg_catalog.pg_partition_tree(b.relation) p
		JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind <> 'f'
		WHERE b.capture = 'trigger' AND p.relid <> b.relation
		  -- its own trigger is put on it by sync_attach or sync_load, or as it is made, after the one that being a partition gives it
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
		                  LEFT JOIN pg_catalog.pg_trigger r ON r.tgrelid = t.tgrelid AND r.tgname = '_syncext_capture'
		                  WHERE t.tgrelid = p.relid AND t.tgname = '_syncext_truncate' AND t.oid > coalesce(r.oid, 0))
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('partition %s', p.name),
		       pg_catalog.format(CASE p.fate WHEN 'dropped' THEN 'was dropped while table %s, whose it was, was attached: the hub has the records of its rows, which the table has not'
		                              ELSE 'is no partition of attached table %s any more: the hub has the records of its rows, which the table has not' END, b.relation),
		       CASE WHEN b.direction = 'in'
		            THEN pg_catalog.format('Delete the records at the hub, or bring the rows back; then UPDATE syncext.binding SET shape = shape - ''partitions'' WHERE relation = %L::regclass.', b.relation)
		            ELSE pg_catalog.format('Delete the records at the hub, or make a partition that takes the rows; then CALL sync_load(%L%s), which brings what the hub has.', b.relation,
		                                   CASE WHEN EXISTS (SELECT FROM syncext.link l WHERE l.source = b.source) THEN ', ''hub''' END) END
		FROM syncext.binding b
		CROSS JOIN LATERAL syncext.left_partitions(b) p
		-- a full compare finds what a polled relation has lost
		WHERE b.capture <> 'poll' AND p.fate IN ('dropped', 'left')
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format(CASE WHEN c.was->1 = c.now->1 AND r.relkind = 'v'
		                              THEN 'column %s may have other values, as CREATE OR REPLACE VIEW says how they are made: that was no edit, and they may differ from what the hub has'
		                              WHEN c.was->1 = c.now->1 THEN 'column %s was given other values by ALTER TABLE: what became of its rows was no edit, and they may differ from what the hub has'
		                              ELSE 'column %s was of type %s, and is of type %s now: what became of its rows was no edit, and they may differ from what the hub has' END,
		                         pg_catalog.quote_ident(c.name), c.was->>1, c.now->>1),
		       CASE WHEN b.capture = 'poll' THEN pg_catalog.format('CALL sync_poll(%L, true) sends what is different.', b.relation)
		            WHEN b.direction = 'out' THEN pg_catalog.format('CALL sync_load(%L, ''hub'') writes what the hub has.', b.relation)
		            ELSE pg_catalog.format('CALL sync_load(%L%s) sends what is different.', b.relation,
		                                   CASE WHEN NOT EXISTS (SELECT FROM syncext.link l WHERE l.source = b.source) THEN ', ''table''' END) END
		FROM syncext.binding b
		JOIN pg_catalog.pg_class r ON r.oid = b.relation
		CROSS JOIN LATERAL syncext.known_columns(b) c
		WHERE NOT syncext.holds_as_much(c.was, c.now)
		UNION ALL
		SELECT 'error', b.source, pg_catalog.format('table %s', t.tgrelid::pg_catalog.regclass), 'can be truncated, of which the hub would not learn: its trigger is disabled',
		       pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER _syncext_truncate.', t.tgrelid::pg_catalog.regclass)
		FROM syncext.binding b
		JOIN pg_catalog.pg_trigger t ON t.tgrelid = b.relation OR t.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(b.relation) p)
		WHERE b.capture = 'trigger' AND t.tgname = '_syncext_truncate' AND t.tgenabled <> 'A'
		UNION ALL
		-- the shapes are local/own_trigger's
		SELECT 'error', b.source, pg_catalog.format('table %s', t.tgrelid::pg_catalog.regclass),
		       pg_catalog.format('has a trigger %I that is not as sync_attach creates it: edits that it fires for fail, and others are perhaps not captured', t.tgname),
		       CASE t.tgname WHEN '_syncext_capture'
		            THEN pg_catalog.format('SELECT sync_detach(%L) and sync_attach again; then CALL sync_load(%L).', b.relation, b.relation)
		            ELSE pg_catalog.format('DROP TRIGGER %I ON %s.', t.tgname, t.tgrelid::pg_catalog.regclass) END
		FROM syncext.binding b
		JOIN pg_catalog.pg_trigger t ON t.tgrelid = b.relation OR t.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(b.relation) p)
		WHERE (t.tgfoid = 'syncext.capture'::pg_catalog.regproc OR t.tgname = '_syncext_capture' AND b.capture = 'trigger')
		  AND (t.tgfoid <> 'syncext.capture'::pg_catalog.regproc OR (t.tgname, t.tgtype) NOT IN (('_syncext_capture', 29), ('_syncext_truncate', 34))
		       OR t.tgqual IS NOT NULL OR t.tgattr::pg_catalog.text <> '' OR t.tgnargs <> 0
		       OR t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL OR t.tgconstraint <> 0)
		  -- it goes with its table's
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger o
		                  WHERE o.oid = t.tgparentid AND (o.tgrelid = b.relation OR o.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(b.relation) p)))
		UNION ALL
		-- of a partition it is known whose it was
		SELECT 'error', (SELECT pg_catalog.min(b.source) FROM syncext.binding b
		                 WHERE EXISTS (SELECT FROM pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(b.shape->'partitions') = 'object' THEN b.shape->'partitions' END) w
		                               WHERE coalesce(w.value->0, w.value) = pg_catalog.to_jsonb(t.tgrelid::pg_catalog.int8))),
		       pg_catalog.format('table %s', t.tgrelid::pg_catalog.regclass),
		       'is not attached any more, but was, or was a partition of a table that is: its rows stand at the hub, and edits of it are not captured',
		       pg_catalog.format('Make it a partition again, or SELECT sync_attach(%L, ...), then CALL sync_load; or DROP TRIGGER %I ON %s, and delete the records.',
		                         t.tgrelid::pg_catalog.regclass, t.tgname, t.tgrelid::pg_catalog.regclass)
		FROM pg_catalog.pg_trigger t
		WHERE t.tgname IN ('_syncext_capture', '_syncext_truncate') AND t.tgfoid = 'syncext.capture'::pg_catalog.regproc
		  AND NOT EXISTS (SELECT FROM syncext.binding b WHERE b.relation = t.tgrelid)
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(t.tgrelid) a
		                  JOIN syncext.binding b ON b.relation = a.relid)
		UNION ALL
		SELECT 'error', NULL, pg_catalog.format('event trigger %s', e.name),
		       'is missing or disabled: nobody is told of what DDL makes of the rows of attached relations',
		       pg_catalog.format('ALTER EVENT TRIGGER %s ENABLE ALWAYS; then load the tables that were altered meanwhile.', e.name)
		FROM (VALUES ('table_rewrite', 'syncext_rewritten'), ('ddl_command_end', 'syncext_altered')) w(event, default_name)
		LEFT JOIN pg_catalog.pg_event_trigger t ON t.evtfoid = 'syncext.altered'::pg_catalog.regproc AND t.evtevent = w.event
		CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(coalesce(t.evtname, w.default_name)) AS name) e
		WHERE t.evtenabled IS DISTINCT FROM 'A'
		UNION ALL
		SELECT 'error', NULL, 'setting event_triggers',
		       pg_catalog.format('is off %s: nobody is told of what DDL makes of the rows of attached relations', o.whose),
		       pg_catalog.format('%s; then load the tables that were altered meanwhile.', o.mend)
		FROM syncext.event_triggers_off o
		UNION ALL
		-- what was given up
		SELECT 'error', d.source, pg_catalog.format('source %s', d.source),
		       pg_catalog.format('%s %s given up, the first of them since %s: %s %s, %s', pg_catalog.count(*),
		                         CASE d.kind WHEN 'outbound' THEN CASE pg_catalog.count(*) WHEN 1 THEN 'delivery was' ELSE 'deliveries were' END
		                                     WHEN 'parked' THEN CASE pg_catalog.count(*) WHEN 1 THEN 'parked change was' ELSE 'parked changes were' END
		                                     ELSE CASE pg_catalog.count(*) WHEN 1 THEN 'captured row was' ELSE 'captured rows were' END END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(d.since)),
		                         (pg_catalog.array_agg(d.entity ORDER BY d.since, d.external_id))[1],
		                         (pg_catalog.array_agg(d.external_id ORDER BY d.since, d.external_id))[1],
		                         (pg_catalog.array_agg(d.error ORDER BY d.since, d.external_id))[1]),
		       pg_catalog.format('Mend the cause, then SELECT sync_redrive(%L), or give them up for good with sync_discard. View syncext.dead_letter lists them.', d.source)
		FROM dead d
		GROUP BY d.source, d.kind
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', f.relation),
		       pg_catalog.format('%s could not be brought to the hub, the first since %s: %s, %s',
		                         CASE pg_catalog.count(*) WHEN 1 THEN '1 row' ELSE pg_catalog.count(*) || ' rows' END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(f.since)),
		                         (pg_catalog.array_agg(f.external_id ORDER BY f.since, f.external_id))[1],
		                         (pg_catalog.array_agg(f.error ORDER BY f.since, f.external_id))[1]),
		       'Each is tried again with a later poll. Table syncext.capture_failure lists them.'
		FROM syncext.capture_failure f
		JOIN syncext.binding b ON b.relation = f.relation
		WHERE f.next_attempt IS NOT NULL AND f.since < pg_catalog.clock_timestamp() - interval '1 hour'
		GROUP BY b.source, f.relation
		UNION ALL
		-- what failed, and is tried again
		SELECT 'info', p.target, pg_catalog.format('source %s', p.target),
		       pg_catalog.format('%s failed and will be tried again, the first since %s: %s %s, %s',
		                         CASE pg_catalog.count(*) WHEN 1 THEN '1 delivery' ELSE pg_catalog.count(*) || ' deliveries' END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(p.since)),
		                         (pg_catalog.array_agg(p.entity ORDER BY p.since, p.external_id))[1],
		                         (pg_catalog.array_agg(p.external_id ORDER BY p.since, p.external_id))[1],
		                         (pg_catalog.array_agg(p.error ORDER BY p.since, p.external_id))[1]),
		       pg_catalog.format('The next attempt is due at %s; SELECT sync_redrive(%L) makes it now. View syncext.outbound_change lists them.',
		                         pg_catalog.date_trunc('second', pg_catalog.min(p.next_attempt)), p.target)
		FROM syncext.pending p
		WHERE p.next_attempt IS NOT NULL AND p.attempts > 0
		  AND ((SELECT r.sees_all FROM reader r) OR syncext.may_see(p.target, p.entity, p.external_id))
		GROUP BY p.target
		UNION ALL
		-- a row that is locked, an edit that the hub has not answered, a parent that has yet
		-- to come: all of that passes
		SELECT 'warning', p.target, pg_catalog.format('source %s', p.target),
		       pg_catalog.format('%s for something else, which counts as no failure, the first since %s: %s %s, %s',
		                         CASE pg_catalog.count(*) WHEN 1 THEN '1 delivery waits' ELSE pg_catalog.count(*) || ' deliveries wait' END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(p.since)),
		                         (pg_catalog.array_agg(p.entity ORDER BY p.since, p.external_id))[1],
		                         (pg_catalog.array_agg(p.external_id ORDER BY p.since, p.external_id))[1],
		                         (pg_catalog.array_agg(p.error ORDER BY p.since, p.external_id))[1]),
		       pg_catalog.format('See to what holds it up there. The next attempt is due at %s; SELECT sync_redrive(%L) makes it now, sync_discard gives it up. View syncext.outbound_change lists them.',
		                         pg_catalog.date_trunc('second', pg_catalog.min(p.next_attempt)), p.target)
		FROM syncext.pending p
		WHERE p.next_attempt IS NOT NULL AND p.attempts = 0 AND p.error IS NOT NULL
		  AND p.since < pg_catalog.clock_timestamp() - interval '10 min'
		  AND ((SELECT r.sees_all FROM reader r) OR syncext.may_see(p.target, p.entity, p.external_id))
		GROUP BY p.target
		UNION ALL
		SELECT 'info', b.source, pg_catalog.format('relation %s', f.relation),
		       pg_catalog.format('%s could not be brought to the hub and will be tried again, the first since %s: %s, %s',
		                         CASE pg_catalog.count(*) WHEN 1 THEN '1 row' ELSE pg_catalog.count(*) || ' rows' END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(f.since)),
		                         (pg_catalog.array_agg(f.external_id ORDER BY f.since, f.external_id))[1],
		                         (pg_catalog.array_agg(f.error ORDER BY f.since, f.external_id))[1]),
		       'Table syncext.capture_failure lists them.'
		FROM syncext.capture_failure f
		JOIN syncext.binding b ON b.relation = f.relation
		WHERE f.next_attempt IS NOT NULL
		GROUP BY b.source, f.relation
		HAVING pg_catalog.min(f.since) >= pg_catalog.clock_timestamp() - interval '1 hour'
		UNION ALL
		SELECT 'error', NULL, pg_catalog.format('subscription %s', s.subname),
		       pg_catalog.format('writes %s of syncext''s tables, the first of them %s: they are a hub''s own, and nothing here goes by what another has in its', pg_catalog.count(*),
		                         pg_catalog.min(r.srrelid::pg_catalog.regclass::pg_catalog.text)),
		       pg_catalog.format('At the publisher let the publication be of other tables alone; then ALTER SUBSCRIPTION %I REFRESH PUBLICATION, DROP EXTENSION syncext CASCADE, and make it anew.', s.subname)
		FROM pg_catalog.pg_subscription s
		JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = s.oid
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = r.srrelid AND d.deptype = 'e'
		JOIN pg_catalog.pg_extension x ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND x.oid = d.refobjid AND x.extname = 'syncext'
		GROUP BY s.subname
		UNION ALL
		-- a dump that was restored in parts: keys and foreign keys of ours would not let it be
		SELECT 'error', s.name, pg_catalog.format('source %s', s.name),
		       'has no cursor: it was inserted by hand, or pg_restore -j has left out tables of which it said that they violate a foreign key; then routes, references, attached tables, links and schedules may be missing, too',
		       pg_catalog.format('SELECT sync_resync(%L) of one that was inserted; else restore the dump anew, the tables of schema syncext without -j.', s.name)
		-- as many as tell that there are some: a plan for all looks dear
		FROM (SELECT o.name FROM syncext.source o
		      WHERE NOT EXISTS (SELECT FROM syncext.cursor c WHERE c.target = o.name AND c.slot = 0) ORDER BY o.name LIMIT 20) s
		UNION ALL
		SELECT 'error', n.source, n.object,
		       pg_catalog.format('names entity %s, which is missing, as where pg_restore --disable-triggers could not restore syncext.entity', n.entity),
		       pg_catalog.format('Restore the dump anew, without --disable-triggers; or SELECT sync_add_entity(%L, …), with its ladder.', n.entity)
		FROM (SELECT m.source, m.object, m.entity
		      FROM (SELECT b.source, pg_catalog.format('relation %s', b.relation) AS object, b.entity FROM syncext.binding b
		            UNION ALL SELECT r.source, pg_catalog.format('route of source %s', r.source), r.entity FROM syncext.route r
		            UNION ALL SELECT NULL, pg_catalog.format('reference %s of entity %s', f.field, f.entity), f.entity FROM syncext.reference f
		            UNION ALL SELECT NULL, pg_catalog.format('reference %s of entity %s', f.field, f.entity), f.parent FROM syncext.reference f WHERE f.parent <> f.entity) m
		      WHERE NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = m.entity) LIMIT 20) n
		UNION ALL
		-- the feed
		SELECT CASE WHEN l.recorded_at < pg_catalog.clock_timestamp() - syncext.duration('syncext.retention') / 2 THEN 'error' ELSE 'warning' END,
		       c.target, pg_catalog.format('source %s', c.target) || CASE WHEN c.slots > 1 THEN pg_catalog.format(', slot %s', c.slot) ELSE '' END,
		       pg_catalog.format('is behind: it has not got a change of %s; it last acknowledged a batch at %s',
		                         pg_catalog.date_trunc('second', l.recorded_at), pg_catalog.date_trunc('second', c.moved_at)),
		       pg_catalog.format('Have it pull or deliver; if it wants nothing, SELECT sync_subscribe(%L, ''{}''). When it is behind by %s, it gets all records again.',
		                         c.target, syncext.duration('syncext.retention'))
		FROM syncext.cursor c
		JOIN syncext.source s ON s.name = c.target
		JOIN syncext.tick lo ON lo.id = c.lo
		LEFT JOIN syncext.tick hi ON hi.id = c.hi
		CROSS JOIN LATERAL (
			SELECT l.recorded_at
			FROM syncext.log_row l
			WHERE l.xid >= pg_catalog.pg_snapshot_xmin(lo.snapshot)
			  AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, lo.snapshot)
			  AND NOT (coalesce(pg_catalog.pg_visible_in_snapshot(l.xid, hi.snapshot), false) AND (l.xid, l.seq) <= (c.at_xid, c.at_seq))
			  AND syncext.is_told(l.told, l.source = c.target)
			  AND (s.entities IS NULL OR l.entity = ANY (s.entities))
			  AND (c.slots = 1 OR syncext.record_slot(l.entity, l.external_id, c.slots) = c.slot)
			  AND ((SELECT r.sees_all FROM reader r) OR syncext.may_see(c.target, l.entity, l.external_id))
			ORDER BY l.xid, l.seq LIMIT 1) l
		WHERE lo.taken_at < pg_catalog.clock_timestamp() - interval '1 hour'
		  AND l.recorded_at < pg_catalog.clock_timestamp() - interval '1 hour'
		UNION ALL
		-- a target that never takes its walk keeps every tombstone
		SELECT CASE WHEN w.stands THEN 'warning' ELSE 'info' END, c.target,
		       pg_catalog.format('source %s', c.target) || CASE WHEN c.slots > 1 THEN pg_catalog.format(', slot %s', c.slot) ELSE '' END,
		       pg_catalog.format('is getting all records of entity %s, since %s', c.backfill_entity,
		                         coalesce(pg_catalog.date_trunc('second', c.backfill_since)::text, 'it began')) ||
		       -- the records that its filter keeps from it are counted, too
		       CASE WHEN (SELECT r.sees_all FROM reader r)
		              OR NOT EXISTS (SELECT FROM syncext.route t WHERE t.source = c.target AND t.entity = c.backfill_entity AND t.filter IS NOT NULL)
		            THEN pg_catalog.format(': it has acknowledged %s', c.backfill_done) ELSE '' END ||
		       CASE WHEN w.stands THEN ', none for longer than syncext.retention; no tombstone is removed meanwhile' ELSE '' END,
		       CASE WHEN w.stands THEN pg_catalog.format('Let it pull; one that only sends gets nothing after SELECT sync_subscribe(%L, ''{}'').', c.target)
		            ELSE 'View syncext.backfill_progress tells how many there are.' END
		FROM syncext.cursor c
		CROSS JOIN LATERAL (SELECT greatest(c.moved_at, c.backfill_since) < pg_catalog.clock_timestamp() - syncext.duration('syncext.retention') AS stands) w
		WHERE c.backfill_entity IS NOT NULL
		UNION ALL
		-- conflicts that have waited for a decision for long
		SELECT 'warning', l.source, pg_catalog.format('entity %s', l.entity),
		       pg_catalog.format('%s of source %s %s for a decision for more than a day, the oldest since %s', 
		                         CASE pg_catalog.count(*) WHEN 1 THEN '1 conflict' ELSE pg_catalog.count(*) || ' conflicts' END, l.source,
		                         CASE pg_catalog.count(*) WHEN 1 THEN 'waits' ELSE 'wait' END,
		                         pg_catalog.date_trunc('second', pg_catalog.min(l.recorded_at))),
		       'Decide them with sync_resolve or sync_resolve_where: SELECT * FROM syncext.conflict.'
		FROM syncext.conflict_log l
		WHERE l.status = 'pending' AND l.recorded_at < pg_catalog.clock_timestamp() - interval '1 day'
		  AND ((SELECT r.sees_all FROM reader r) OR syncext.may_see(l.source, l.entity, l.external_id, l.incoming))
		GROUP BY l.source, l.entity
		UNION ALL
		-- keys of their own
		SELECT 'warning', k.source, pg_catalog.format('entity %s', k.entity),
		       pg_catalog.format('source %s has sent key %L with record %L, last at %s, which cannot be bound to one another: KEY_CONFLICT', k.source, k.source_id, k.external_id,
		                         pg_catalog.date_trunc('second', k.noted_at)),
		       pg_catalog.format('Table syncext.source_key has what is bound. Where that is wrong, SELECT sync_unbind(%L, %L, …), and the source sends it again.', k.source, k.entity)
		FROM syncext.key_problem k
		WHERE k.kind = 'conflict' AND k.noted_at > pg_catalog.clock_timestamp() - interval '1 day'
		  AND NOT EXISTS (SELECT FROM syncext.source_key b
		                  WHERE b.source = k.source AND b.entity = k.entity AND b.source_id = k.source_id AND b.external_id = k.external_id)
		UNION ALL
		SELECT 'warning', k.source, pg_catalog.format('entity %s', k.entity),
		       pg_catalog.format('source %s was sent a record at %s and has not said by which key of its own it knows it', k.source, pg_catalog.date_trunc('second', k.noted_at)),
		       pg_catalog.format('Let it acknowledge with keys => …, or send a document with sourceId and externalId; SELECT sync_bind(%L, %L, …, %L) says the key by hand. Until then it is sent the record without its key, and may make it again.', k.source, k.entity, k.external_id)
		FROM syncext.key_problem k
		JOIN syncext.canonical r ON r.entity = k.entity AND r.external_id = k.external_id AND NOT r.deleted
		WHERE k.kind = 'unsaid' AND k.noted_at < pg_catalog.clock_timestamp() - interval '1 hour'
		  AND NOT EXISTS (SELECT FROM syncext.source_key b
		                  WHERE b.entity = k.entity AND b.external_id = k.external_id AND b.source = k.source AND NOT b.duplicate)
		UNION ALL
		SELECT 'warning', p.target, pg_catalog.format('entity %s', p.entity),
		       pg_catalog.format('%s of it %s for source %s, the oldest since %s: %s', CASE pg_catalog.count(*) WHEN 1 THEN '1 record' ELSE pg_catalog.count(*) || ' records' END,
		                         CASE pg_catalog.count(*) WHEN 1 THEN 'waits' ELSE 'wait' END, p.target, pg_catalog.date_trunc('second', pg_catalog.min(p.since)),
		                         (pg_catalog.array_agg(p.error ORDER BY p.since))[1]),
		       'A route or a subscription may keep the parent from the source; else let it say its keys. sync_bind does it by hand.'
		FROM syncext.pending p
		WHERE p.put_off AND p.since < pg_catalog.clock_timestamp() - syncext.duration('syncext.waiting_max')
		  AND ((SELECT r.sees_all FROM reader r) OR syncext.may_see(p.target, p.entity, p.external_id))
		GROUP BY p.target, p.entity
		UNION ALL
		SELECT 'warning', k.source, pg_catalog.format('entity %s', k.entity),
		       pg_catalog.format('source %s drew key %s again, last at %s, which had named record %s so far: the row is a record of its own, and that one has no row', k.source, k.source_id,
		                         pg_catalog.date_trunc('second', k.noted_at), k.external_id),
		       'Its table may have gone back in time: set the sequence past the greatest key that was ever drawn. SELECT sync_resync has records that lost their rows sent again.'
		FROM syncext.key_problem k
		WHERE k.kind = 'reused' AND k.noted_at > pg_catalog.clock_timestamp() - interval '1 day'
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format('draws its key %s itself, and takes records from elsewhere under their own: one that others draw, too, makes one record of two', a.attname),
		       pg_catalog.format('SELECT sync_detach(%L), sync_attach it with own_keys => true, and CALL sync_load(%L).', b.relation, b.relation)
		FROM syncext.binding b
		JOIN pg_catalog.pg_attribute a ON a.attrelid = b.relation AND a.attname = ANY (b.key) AND NOT a.attisdropped
		LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE NOT b.own_keys AND b.direction = 'both'
		  AND (a.attidentity <> '' OR EXISTS (SELECT FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class q ON q.oid = p.refobjid
		                                      WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
		                                        AND p.refclassid = 'pg_catalog.pg_class'::regclass AND q.relkind = 'S'))
		  AND (EXISTS (SELECT FROM syncext.binding o WHERE o.entity = b.entity AND o.relation <> b.relation AND o.direction <> 'out')
		       OR EXISTS (SELECT FROM syncext.link l WHERE l.source = b.source))
		UNION ALL
		SELECT 'warning', b.source, pg_catalog.format('relation %s', b.relation),
		       pg_catalog.format('has rows that the hub does not know, and draws their keys itself: nothing is delivered to source %s until they are loaded', b.source),
		       pg_catalog.format('CALL sync_load(%L).', b.relation)
		FROM syncext.binding b
		WHERE b.own_keys AND b.direction = 'both' AND b.loaded IS NULL
		UNION ALL
		SELECT 'info', k.source, pg_catalog.format('source %s', k.source),
		       pg_catalog.format('has keys of its own of entity %s, which its next document or pull brings into force', k.entity), NULL
		FROM syncext.keyed_entity k
		WHERE NOT k.armed
		UNION ALL
		-- filters: what they keep from a source is told to administrators alone
		SELECT 'error', NULL, pg_catalog.format('route of source %s', f.source),
		       pg_catalog.format('its filter fails on %s %s, which therefore is not delivered: %s', f.entity, f.external_id, f.error),
		       pg_catalog.format('Give it a filter that can be evaluated on every record: SELECT sync_route(%L, %L, …). Table syncext.route has it as it is.', f.source, f.entity)
		FROM syncext.route_failure f
		JOIN syncext.route r ON r.source = f.source AND r.entity = f.entity
		JOIN syncext.canonical c ON c.entity = f.entity AND c.external_id = f.external_id
		WHERE NOT c.deleted AND syncext.filter_error(r.filter, c.fields) IS NOT NULL
		UNION ALL
		SELECT 'info', NULL, pg_catalog.format('route of source %s', r.source),
		       pg_catalog.format('waits for a transaction that goes on since before it was edited: the source is not told yet what of entity %s is gone for it', r.entity),
		       'The source''s next pull after the end of that transaction does it.'
		FROM syncext.route r
		WHERE NOT r.armed AND r.served IS NOT NULL
		UNION ALL
		-- the hub itself: for administrators
		SELECT 'warning', NULL, pg_catalog.format('field rule of %s of entity %s', f.field, f.entity),
		       CASE WHEN e.name IS NULL THEN 'is never asked: there is no such entity' ELSE 'is never asked: the entity''s ladder has no merge' END,
		       CASE WHEN e.name IS NULL THEN pg_catalog.format('SELECT sync_add_entity(%L), or DELETE FROM syncext.field_rule WHERE entity = %L.', f.entity, f.entity)
		            ELSE pg_catalog.format('UPDATE syncext.entity SET ladder = … WHERE name = %L, or DELETE FROM syncext.field_rule WHERE entity = %L.', f.entity, f.entity) END
		FROM syncext.field_rule f
		LEFT JOIN syncext.entity e ON e.name = f.entity
		WHERE f.entity <> '*' AND (e.name IS NULL OR NOT 'merge' = ANY (e.ladder) AND NOT coalesce(f.args ? 'empty', false))
		UNION ALL
		SELECT 'error', NULL, pg_catalog.format('field rule of %s of entity %s', f.field, f.entity),
		       c.error || ': the rule decides nothing',
		       CASE WHEN syncext.rule_function('field', f.args->>'function') IS NULL
		            THEN pg_catalog.format('Make the function, or SELECT sync_rule(%L, %L, …) with another rule.', f.entity, f.field)
		            ELSE pg_catalog.format('SELECT sync_rule(%L, %L, %L, %L) as a role that may call it and act as its owner, or GRANT EXECUTE ON FUNCTION %s(jsonb, jsonb, jsonb) and USAGE on its schema, and make it SECURITY DEFINER.', f.entity, f.field, f.rule, f.args, f.args->>'function') END
		FROM syncext.field_rule f
		CROSS JOIN LATERAL (SELECT syncext.rule_function_error('field', f.args->>'function', f.written_by)) c(error)
		WHERE f.rule = 'function' AND c.error IS NOT NULL
		UNION ALL
		SELECT s.severity, s.source, s.object, s.problem, s.hint FROM syncext.surprise s
		UNION ALL
		-- match rules: for administrators
		SELECT 'error', NULL, pg_catalog.format('match rule %s of entity %s', m.name, m.entity),
		       c.error || ': the rule finds nothing',
		       CASE WHEN syncext.rule_function('match', m."normalize") IS NULL
		            THEN pg_catalog.format('Make the function, or SELECT sync_drop_match(%L, %L).', m.entity, m.name)
		            ELSE pg_catalog.format('SELECT sync_drop_match(%L, %L), and sync_add_match it with an immutable function as a role that may call it and act as its owner, or that is SECURITY DEFINER.', m.entity, m.name) END
		FROM syncext.match_rule m
		CROSS JOIN LATERAL (SELECT syncext.rule_function_error('match', m."normalize", m.written_by)) c(error)
		WHERE m."normalize" IS NOT NULL AND c.error IS NOT NULL
		UNION ALL
		SELECT 'warning', NULL, pg_catalog.format('match rule %s of entity %s', p.rule, p.entity),
		       CASE p.kind WHEN 'common' THEN pg_catalog.format('more than 100 records share a key with record %s, and are no candidates by it', p.external_id)
		                   ELSE pg_catalog.format('its function made no key of record %s, which is not found by it: %s', p.external_id, p.error) END,
		       CASE p.kind WHEN 'common' THEN 'Name more fields, or let a function return null for what says nothing.'
		                   ELSE pg_catalog.format('Mend the function, then CALL sync_rematch(%L).', p.entity) END
		FROM syncext.match_problem p
		UNION ALL
		SELECT 'info', NULL, pg_catalog.format('entity %s', b.entity),
		       CASE WHEN b.after_id IS NULL THEN 'its match keys are to be built'
		            ELSE pg_catalog.format('its match keys are being built, %s records so far', b.records) END || ': what has none is not found',
		       pg_catalog.format('CALL sync_rematch(%L) builds them; so does CALL sync_maintain(), in portions.', b.entity)
		FROM syncext.match_build b
		WHERE EXISTS (SELECT FROM syncext.match_rule m WHERE m.entity = b.entity)
		  AND EXISTS (SELECT FROM syncext.canonical r WHERE r.entity = b.entity)
		UNION ALL
		SELECT 'info', NULL, pg_catalog.format('entity %s', c.entity),
		       CASE pg_catalog.count(*) WHEN 1 THEN '1 pair of records that may be one waits' ELSE pg_catalog.format('%s pairs of records that may be one wait', pg_catalog.count(*)) END
		       || pg_catalog.format(' for a steward, since %s', pg_catalog.date_trunc('second', pg_catalog.min(c.since))),
		       'SELECT * FROM syncext.candidate shows them; SELECT sync_match_decide(…, ''merge''), or ''distinct'', decides one.'
		FROM syncext.match_candidate c
		WHERE c.status = 'pending'
		GROUP BY c.entity
		UNION ALL
		SELECT 'info', NULL, pg_catalog.format('entity %s', p.entity),
		       pg_catalog.format('what refers to records that were merged is being changed, since %s; sources have not heard yet that these are gone', pg_catalog.date_trunc('second', p.since)),
		       'CALL sync_maintain() does that, in portions.'
		FROM syncext.repoint p
		UNION ALL
		SELECT 'warning', NULL, 'change log',
		       pg_catalog.format('is in table change_log_%s since %s, longer than a third of syncext.retention', f.current_log, pg_catalog.date_trunc('second', f.switched_at)),
		       'CALL sync_maintain() every few minutes; its answer says what it waits for.'
		FROM syncext.feed_state f
		WHERE f.switched_at < pg_catalog.clock_timestamp() - syncext.duration('syncext.retention') / 3 - interval '1 hour'
		  AND pg_catalog.pg_relation_size(pg_catalog.format('syncext.change_log_%s', f.current_log)::pg_catalog.regclass) > 0
		UNION ALL
		SELECT CASE WHEN coalesce(t.last_exchange_at, l.added_at) < pg_catalog.clock_timestamp() - interval '1 hour' THEN 'error' ELSE 'warning' END,
		       l.source, pg_catalog.format('link %s', l.name),
		       pg_catalog.format('failed %s times in a row, last at %s: %s', t.failures, pg_catalog.date_trunc('second', t.last_error_at), t.last_error),
		       pg_catalog.format('Mend the cause: at the hub, or with ALTER SERVER %I, or its user mapping. It is tried again at %s.', l.server,
		                         pg_catalog.date_trunc('second', t.next_attempt))
		FROM syncext.link l
		JOIN syncext.link_state t ON t.link = l.name
		LEFT JOIN syncext.peer p ON p.link = l.name
		WHERE l.enabled AND t.failures >= 3 AND p.refused IS NULL
		UNION ALL
		-- an administrator has to decide which of the two databases goes on
		SELECT 'error', l.source, pg_catalog.format('link %s', l.name),
		       pg_catalog.format('is stopped since %s, until an administrator decides: %s', pg_catalog.date_trunc('second', p.refused_at), t.last_error),
		       pg_catalog.format('If this database is a copy: SELECT sync_unlink(%L). If it takes the place of the one that is linked: SELECT syncext.release_spoke(%L) at the hub. If it is the hub that is another: ALTER SERVER %I leads back, SELECT syncext.release_hub(%L) goes on with this one. What was said last tells which.',
		                         l.name, l.source, l.server, l.name)
		FROM syncext.link l
		JOIN syncext.peer p ON p.link = l.name
		LEFT JOIN syncext.link_state t ON t.link = l.name
		WHERE p.refused IS NOT NULL
		UNION ALL
		SELECT CASE WHEN p.stranded > 0 THEN 'warning' ELSE 'info' END, l.source, pg_catalog.format('link %s', l.name),
		       CASE p.turned WHEN 'spoke' THEN pg_catalog.format('this database had gone back in time, as the hub told at %s: all records come again', pg_catalog.date_trunc('second', p.turned_at))
		                 || CASE WHEN p.stranded > 0 THEN pg_catalog.format('; of %s that are here it has none: they may have been deleted there longer ago than it remembers', p.stranded) ELSE '' END
		            ELSE pg_catalog.format('its hub had gone back in time, or crashed, as was found at %s: ', pg_catalog.date_trunc('second', p.turned_at))
		                 || CASE WHEN p.resync_since IS NOT NULL THEN pg_catalog.format('what was agreed on is being compared, %s records so far are sent again', p.resent)
		                         WHEN p.resent + p.stranded = 0 THEN 'it has lost nothing of what was agreed on'
		                         ELSE pg_catalog.format('of %s records it had lost something that was sent again', p.resent) END
		                 || CASE WHEN p.stranded > 0 THEN pg_catalog.format('; %s that it has lost are in tables from which nothing is sent', p.stranded) ELSE '' END END,
		       CASE WHEN p.stranded > 0 AND p.turned = 'spoke' THEN pg_catalog.format('View syncext.dead_letter lists rows: delete them, or SELECT sync_redrive(%L) sends them again. ', l.source)
		            WHEN p.stranded > 0 THEN 'Attach the table with direction ''both'' to send them, or delete them there. ' ELSE '' END || 'It is told here for as long as syncext.retention.'
		FROM syncext.link l
		JOIN syncext.peer p ON p.link = l.name
		WHERE p.turned_at > pg_catalog.clock_timestamp() - syncext.duration('syncext.retention')
		UNION ALL
		SELECT 'error', s.source, pg_catalog.format('source %s', s.source),
		       pg_catalog.format('another database came as it, last at %s, and was refused: %s', pg_catalog.date_trunc('second', s.refused_at),
		                         CASE s.refused WHEN 'copy' THEN 'a copy by CREATE DATABASE … TEMPLATE'
		                                        WHEN 'old primary' THEN 'an old primary'
		                                        WHEN 'moved' THEN 'the same in another place: it was moved, or is a copy'
		                                        WHEN 'doubtful' THEN 'one that has missed what was exchanged since, in another place: it was restored there, or is a copy'
		                                        ELSE 'one that has nothing in common with it, or that a dump was restored to' END),
		       pg_catalog.format('If it is a copy: sync_unlink there. If it takes the place of the one that is linked: SELECT syncext.release_spoke(%L).', s.source)
		FROM syncext.spoke s
		WHERE s.refused_at > pg_catalog.clock_timestamp() - interval '1 day'
		UNION ALL
		SELECT 'info', s.source, pg_catalog.format('source %s', s.source),
		       pg_catalog.format('the database that is linked as it had gone back in time, as was found at %s: it gets all records again', pg_catalog.date_trunc('second', s.turned_at)),
		       'View syncext.backfill_progress tells how far that is.'
		FROM syncext.spoke s
		WHERE s.turned_at > pg_catalog.clock_timestamp() - syncext.duration('syncext.retention')
		UNION ALL
		SELECT 'warning', s.source, pg_catalog.format('source %s', s.source),
		       pg_catalog.format('has told %s times that this hub had gone back in time, and is not believed before %s', s.behind,
		                         pg_catalog.date_trunc('second', s.behind_at + interval '1 day')),
		       pg_catalog.format('If the hub was restored as often: UPDATE syncext.spoke SET behind = 0 WHERE source = %L. Else see what the database is that is linked as it.', s.source)
		FROM syncext.spoke s
		WHERE s.behind >= 10 AND s.behind_at > pg_catalog.clock_timestamp() - interval '1 day'
		UNION ALL
		SELECT 'info', NULL, 'change feed',
		       pg_catalog.format('began epoch %s at %s: %s', f.epoch, pg_catalog.date_trunc('second', f.began_at),
		                         CASE f.reason WHEN 'promoted' THEN 'a standby was promoted, or the database recovered to a point in time'
		                                       WHEN 'restored' THEN 'a dump was restored'
		                                       WHEN 'copied' THEN 'it is a copy by CREATE DATABASE … TEMPLATE'
		                                       ELSE 'its files were restored, as a link has told that knew of more'
		                                            || coalesce((SELECT ': source ' || pg_catalog.min(s.source) FROM syncext.spoke s WHERE s.behind_at = f.began_at), '') END),
		       'Links see to themselves. Who pulls compares row versions within one epoch: where something may be lost that it has got, SELECT sync_resync(…) for its source gives it all records.'
		FROM syncext.feed_origin f
		WHERE f.reason <> 'created' AND f.began_at > pg_catalog.clock_timestamp() - syncext.duration('syncext.retention')
		  AND 1 = (SELECT pg_catalog.count(*) FROM syncext.feed_origin)
		UNION ALL
		SELECT CASE WHEN w.may IS NULL THEN 'warning' ELSE 'error' END, l.source, pg_catalog.format('link %s', l.name),
		       'has no worker' || coalesce(': role ' || pg_catalog.quote_ident(l.owner) || ', which it belongs to, may not ' || w.may, ''),
		       CASE w.may
		            WHEN 'log in' THEN pg_catalog.format('ALTER ROLE %I LOGIN, which needs no password, and SELECT syncext.start_workers(). Or UPDATE syncext.link SET owner = … WHERE name = %L, to a role with USAGE on server %I and a user mapping.', l.owner, l.name, l.server)
		            WHEN 'connect to this database' THEN pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I, and SELECT syncext.start_workers().', pg_catalog.current_database(), l.owner)
		            ELSE pg_catalog.format('SELECT syncext.start_workers() starts it. For it to start with the server set shared_preload_libraries = ''syncext'', and max_worker_processes high enough. CALL sync_exchange(%L) exchanges once.', l.name) END
		FROM syncext.link l
		JOIN pg_catalog.pg_roles r ON r.rolname = l.owner
		CROSS JOIN LATERAL (
			SELECT CASE WHEN NOT r.rolcanlogin THEN 'log in'
			            WHEN NOT pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT') THEN 'connect to this database' END) w(may)
		WHERE l.enabled AND NOT EXISTS (SELECT FROM syncext.link_activity() a WHERE a.pid = l.worker_pid)
		UNION ALL
		-- it is started when a link begins to listen, if there is room for a process then
		SELECT 'warning', NULL, 'notifier',
		       pg_catalog.format('does not run, though %s: links hear of changes no sooner than they ask',
		                         CASE n.listeners WHEN 1 THEN '1 session of links listens' ELSE n.listeners || ' sessions of links listen' END),
		       'SELECT syncext.start_workers() starts it. Is max_worker_processes high enough?'
		FROM syncext.feed_state f
		CROSS JOIN (SELECT pg_catalog.count(*) AS listeners FROM syncext.listener t
		            WHERE t.since < pg_catalog.clock_timestamp() - interval '1 min'
		              AND EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(t.pid) a
		                          WHERE a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))) n
		WHERE n.listeners > 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(f.notifier_pid) a WHERE a.pid = f.notifier_pid)
		UNION ALL
		SELECT 'warning', u.source, pg_catalog.format('source %s', u.source),
		       pg_catalog.format('%s edits, %s of them deletes, had not been sent when its link was ended at %s', pg_catalog.count(*),
		                         pg_catalog.count(*) FILTER (WHERE u.deleted), pg_catalog.date_trunc('second', pg_catalog.max(u.noted_at)))
		           || CASE WHEN u.elsewhere THEN ', and it is linked to another hub now' ELSE '' END,
		       CASE WHEN u.elsewhere THEN 'Table syncext.unsent lists them. CALL sync_load(…) for a table brings its rows to the hub as they are; what was deleted has to be deleted there again. Then, or to give them up'
		            WHEN EXISTS (SELECT FROM syncext.link l WHERE l.source = u.source) THEN 'Table syncext.unsent lists them. They are sent when their table is attached again. Or, to give them up'
		            ELSE 'Table syncext.unsent lists them. SELECT sync_link(…) to the same hub sends them. Or, to give them up' END
		           || pg_catalog.format(': SELECT sync_discard(%L).', u.source)
		FROM syncext.unsent u
		GROUP BY u.source, u.elsewhere
		UNION ALL
		SELECT 'info', l.source, pg_catalog.format('link %s', l.name), 'has no table: nothing comes from its hub',
		       pg_catalog.format('SELECT sync_attach(…, %L, …) attaches one. For this hub to be a spoke as a whole, SELECT sync_link(%L, %L, %L, relay => true).',
		                         l.source, l.name, l.server, l.source)
		FROM syncext.link l
		WHERE NOT l.relay AND NOT EXISTS (SELECT FROM syncext.binding b WHERE b.source = l.source)
		UNION ALL
		SELECT 'info', l.source, pg_catalog.format('link %s', l.name), 'is disabled: nothing is exchanged',
		       pg_catalog.format('UPDATE syncext.link SET enabled = true WHERE name = %L.', l.name)
		FROM syncext.link l
		WHERE NOT l.enabled
		UNION ALL
		SELECT 'info', NULL, pg_catalog.format('reference %s of entity %s', f.field, f.entity),
		       pg_catalog.format('the records that were there before it are not listed yet: a delete of entity %s does so first', f.parent),
		       'CALL sync_maintain() does it now.'
		FROM syncext.reference f
		WHERE f.on_delete <> 'ignore' AND NOT f.listed
		UNION ALL
		SELECT 'info', NULL, 'change feed', 'the database was restored: the next pull begins the feed anew, with all records for every source', NULL
		WHERE 1 < (SELECT pg_catalog.count(*) FROM syncext.feed_origin)
		UNION ALL
		SELECT 'warning', NULL, h.holder,
		       pg_catalog.format('goes on since %s: what it has changed reaches no source yet, and no log table that it used is emptied', pg_catalog.date_trunc('second', h.since)),
		       h.hint
		FROM (SELECT pg_catalog.format('session %s', a.pid) AS holder, a.xact_start AS since,
		             pg_catalog.format('End its transaction, or SELECT pg_terminate_backend(%s).', a.pid) AS hint
		      FROM pg_catalog.pg_stat_activity a
		      WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
		        AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
		      UNION ALL
		      SELECT pg_catalog.format('prepared transaction %L', p.gid), p.prepared,
		             pg_catalog.format('COMMIT PREPARED %L, or ROLLBACK PREPARED.', p.gid)
		      FROM pg_catalog.pg_prepared_xacts p
		      WHERE p.database = pg_catalog.current_database()) h
		WHERE h.since < pg_catalog.clock_timestamp() - interval '1 hour'
		UNION ALL
		SELECT 'warning', NULL, 'setting autovacuum', 'is off: the hub''s tables grow without bounds', 'ALTER SYSTEM SET autovacuum = on.'
		WHERE NOT pg_catalog.current_setting('autovacuum')::boolean
		UNION ALL
		SELECT 'warning', NULL, 'setting default_transaction_isolation',
		       pg_catalog.format('is "%s": a pull in such a transaction cuts no tick, so that the feed stands still where all do so', pg_catalog.current_setting('default_transaction_isolation')),
		       'Set it to "read committed", at least for the roles that pull.'
		WHERE pg_catalog.current_setting('default_transaction_isolation') <> 'read committed'
	)
	SELECT p.severity, p.source, p.object, p.problem, syncext.callable(p.hint) AS hint
	FROM part p
	WHERE (SELECT r.sees_all FROM reader r)
	   OR p.source IS NOT NULL AND syncext.may_act_as(p.source);
COMMENT ON VIEW syncext.problem IS
	'what an administrator should look at, as far as it concerns sources that the reader may act as, or for monitors and members of pg_monitor all of it; sync_check() puts the worst first';
GRANT SELECT ON syncext.problem TO PUBLIC;

-- The names of relations come with their schemas, whatever the caller's search_path; and
-- to compile so long a view takes longer than to read what it looks at.
CREATE FUNCTION syncext.problems() RETURNS SETOF syncext.problem
	LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
	SELECT p.severity, p.source, p.object, p.problem, p.hint FROM syncext.problem p
$$;
COMMENT ON FUNCTION syncext.problems() IS 'view syncext.problem, with the schema before each name';

CREATE FUNCTION @extschema@.sync_check() RETURNS TABLE (severity text, object text, problem text, hint text)
	LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10
	BEGIN ATOMIC
		SELECT p.severity, p.object, p.problem, syncext.callable(p.hint)
		FROM syncext.problems() p
		ORDER BY array_position('{error,warning,info}', p.severity), p.object COLLATE "C", p.problem COLLATE "C";
	END;
COMMENT ON FUNCTION @extschema@.sync_check() IS
	'what an administrator should look at (error, warning, info), and what to do about it; no rows: all is well. Each caller sees what concerns sources that it may act as, administrators, monitors and members of pg_monitor see all';
