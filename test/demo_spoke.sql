-- demo_spoke.sql
--	  A database that is linked to the demo's hub: run by demo.sql, once for each,
--	  with the database's name in shop, the source's in source, the hub's in hub.
\c :shop
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION syncext;
CREATE EXTENSION dblink;
SELECT format('CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host %L, port %L, dbname %L)', :'HOST', :'PORT', :'hub') \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
SELECT sync_add_source(:'source'), sync_add_entity('product') \g /dev/null
SELECT sync_link('head office', 'hub', :'source') \g /dev/null
CREATE TABLE product (id text PRIMARY KEY, name text, price numeric);
SELECT sync_attach('product', :'source', 'product') \g /dev/null
CREATE FUNCTION wait_for(wanted text, new_name text, new_price numeric DEFAULT NULL) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 30000 LOOP
		IF EXISTS (SELECT FROM product WHERE id = wanted AND name = new_name AND price = coalesce(new_price, price)) THEN
			RETURN clock_timestamp();
		END IF;
		PERFORM pg_sleep(0.001);
	END LOOP;
	RAISE EXCEPTION 'the edit did not arrive';
END $$;
