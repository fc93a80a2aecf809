-- Keys of their own: a source sees and binds its own alone, and learns nothing of others'.
CREATE EXTENSION syncext;
CREATE ROLE regress_crm;
CREATE ROLE regress_erp;
SELECT sync_add_source('CRM', 1, 'regress_crm'), sync_add_source('ERP', 2, 'regress_erp');
SELECT sync_add_entity('customer');
SELECT sync_own_keys('CRM', 'customer'), sync_own_keys('ERP', 'customer');
SELECT sync_route('ERP', 'customer', '$.region == "EU"');
SELECT (sync_apply('[{"source": "CRM", "entity": "customer", "sourceId": "1", "externalId": "shown", "version": 1, "region": "EU"},
	{"source": "CRM", "entity": "customer", "sourceId": "2", "externalId": "hidden", "version": 1, "region": "US"}]'))->0->>'resolution' AS resolution;
CREATE FUNCTION code_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

SET ROLE regress_erp;
-- others' keys
SELECT code_of($$SELECT sync_record('customer', source => 'CRM', source_id => '1')$$);
SELECT code_of($$SELECT syncext.record_of_key('CRM', 'customer', '1')$$);
SELECT code_of($$SELECT sync_bind('CRM', 'customer', '9', 'shown')$$);
SELECT code_of($$SELECT sync_unbind('CRM', 'customer', '1')$$);
SELECT code_of($$SELECT * FROM syncext.source_key$$);
SELECT code_of($$SELECT * FROM syncext.keyed_entity$$);
SELECT code_of($$SELECT sync_own_keys('ERP', 'customer', false)$$);
SELECT code_of($$SELECT sync_bind('Nobody', 'customer', '9', 'shown')$$);
-- a record that the source isn't shown is like one that there isn't
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-1', 'hidden')$$) = replace(code_of($$SELECT sync_bind('ERP', 'customer', 'K-1', 'nowhere')$$), 'nowhere', 'hidden') AS same;
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-1', 'hidden')$$);
SELECT code_of(replace(c, 'ID', 'hidden')) = replace(code_of(replace(c, 'ID', 'nowhere')), 'nowhere', 'hidden') AS same, code_of(replace(c, 'ID', 'hidden')) AS said
FROM unnest(ARRAY[$$SELECT sync_explain('{"source": "ERP", "entity": "customer", "externalId": "ID", "version": 1, "x": 1}')$$,
	$$SELECT sync_apply('{"source": "ERP", "entity": "customer", "externalId": "ID", "version": 1, "x": 1}')$$]) c;
-- its own
SELECT sync_bind('ERP', 'customer', 'K-1', 'shown');
SELECT r->>'externalId' AS external_id FROM sync_record('customer', source => 'ERP', source_id => 'K-1') r;
SELECT syncext.record_of_key('ERP', 'customer', 'K-1');
-- one key of two sources: the answer tells of one's own alone
SELECT a - 'reason' - 'externalId' AS answer FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "2", "version": 1, "region": "EU"}') a;
SELECT a - 'reason' AS answer FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "2", "externalId": "shown", "version": 1, "region": "EU"}') a;
SELECT code_of($$SELECT sync_history('customer', source => 'CRM', source_id => '1')$$);
-- a record that it has sent to where it doesn't see it any more
SELECT a->>'resolution' AS resolution FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-1", "version": 3, "region": "US"}') a;
SELECT a - 'reason' AS answer FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-1", "version": 3, "region": "US"}') a;
SELECT p.deleted, p.source_id FROM sync_pull('ERP') p ORDER BY 2;
SELECT sync_ack('ERP', (SELECT max(batch) FROM sync_pull('ERP')));
RESET ROLE;
SELECT source_id, external_id, duplicate FROM syncext.source_key WHERE source = 'ERP' AND external_id = 'shown';
-- a delete under its former key says the same, whether the record lives or not
SET ROLE regress_erp;
SELECT a AS while_it_lives FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-1", "version": 4, "deleted": true}') a \gset
RESET ROLE;
INSERT INTO syncext.source_key (source, entity, source_id, external_id, duplicate) VALUES ('ERP', 'customer', 'K-1', 'shown', true);
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 9, "deleted": true}')->>'resolution' AS resolution;
SET ROLE regress_erp;
SELECT a - 'reason' AS answer, a = :'while_it_lives' AS same FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-1", "version": 4, "deleted": true}') a;
RESET ROLE;

DROP FUNCTION code_of(text);
DROP EXTENSION syncext;
DROP ROLE regress_crm, regress_erp;
