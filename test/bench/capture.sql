-- Three tables alike: one watched by the hub, one by the PL/pgSQL trigger, one by nobody.
CREATE TABLE customer_plain (
	id int PRIMARY KEY, full_name text, email text, phone text, city text, credit numeric(12,2));
CREATE TABLE customer_ours (LIKE customer_plain INCLUDING ALL);
CREATE TABLE customer_plpgsql (LIKE customer_plain INCLUDING ALL);
SELECT sync_attach('customer_ours', 'LocalDB');
UPDATE bench.source SET single_writer = true WHERE name = 'LocalDB';
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON customer_plpgsql
	FOR EACH ROW EXECUTE FUNCTION bench.plpgsql_capture('LocalDB', 'record', 'id');

INSERT INTO customer_plain
SELECT k, 'Customer ' || k, 'c' || k || '@example.com', '+49 0', 'City ' || k % 97, k % 1000
FROM generate_series(1, :rows) k;
INSERT INTO customer_ours SELECT * FROM customer_plain;
INSERT INTO customer_plpgsql SELECT * FROM customer_plain;
