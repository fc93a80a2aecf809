-- The stewards' work: records that may be one.

CREATE VIEW syncext.candidate WITH (security_barrier) AS
	SELECT c.id AS candidate, c.entity, c.external_id, c.other_id, c.rule,
	       r.fields, o.fields AS other_fields,
	       (SELECT pg_catalog.jsonb_object_agg(k.source, k.source_id) FROM syncext.source_key k
	        WHERE k.entity = c.entity AND k.external_id = c.external_id AND NOT k.duplicate) AS keys,
	       (SELECT pg_catalog.jsonb_object_agg(k.source, k.source_id) FROM syncext.source_key k
	        WHERE k.entity = c.entity AND k.external_id = c.other_id AND NOT k.duplicate) AS other_keys,
	       c.since
	FROM syncext.match_candidate c
	JOIN syncext.canonical r ON r.entity = c.entity AND r.external_id = c.external_id AND NOT r.deleted
	JOIN syncext.canonical o ON o.entity = c.entity AND o.external_id = c.other_id AND NOT o.deleted
	WHERE c.status = 'pending'
	  AND ((SELECT pg_catalog.has_table_privilege('syncext.match_candidate', 'SELECT')) OR syncext.may_decide(c.entity));
COMMENT ON VIEW syncext.candidate IS
	'records that may be one, two by two, for a steward to decide. A role sees those of entities that it is a steward of, and with SELECT on syncext.match_candidate all';
COMMENT ON COLUMN syncext.candidate.candidate IS 'what sync_match_decide takes';
COMMENT ON COLUMN syncext.candidate.external_id IS 'the external id of one of the two';
COMMENT ON COLUMN syncext.candidate.other_id IS 'the external id of the other';
COMMENT ON COLUMN syncext.candidate.rule IS 'the match rule by which they have met first';
COMMENT ON COLUMN syncext.candidate.fields IS 'the fields of the one';
COMMENT ON COLUMN syncext.candidate.other_fields IS 'the fields of the other';
COMMENT ON COLUMN syncext.candidate.keys IS 'the keys by which sources with keys of their own know the one; null: none does';
COMMENT ON COLUMN syncext.candidate.other_keys IS 'the keys of the other';
COMMENT ON COLUMN syncext.candidate.since IS 'when they met';

CREATE FUNCTION @extschema@.sync_match_decide(candidate bigint, decision text, note text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_match_decide';
COMMENT ON FUNCTION @extschema@.sync_match_decide(bigint, text, text) IS
	'decide a candidate of view syncext.candidate: distinct, the two are not asked about again; merge, they become one';

CREATE PROCEDURE @extschema@.sync_rematch(entity text, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_rematch';
COMMENT ON PROCEDURE @extschema@.sync_rematch(text, jsonb) IS
	'build the match keys of all records of an entity, and find those that share one; commits between its portions, goes on where it was broken off, and says how many keys and candidates there are';
REVOKE ALL ON PROCEDURE @extschema@.sync_rematch(text, jsonb) FROM PUBLIC;
