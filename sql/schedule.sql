-- Schedules: cron expressions, what may be scheduled, and what is caught up.
-- Here there is no pg_cron; test/t/051_schedule.pl runs with the real one.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SET timezone = 'UTC';

--
-- Cron expressions
--
CREATE TABLE expression (n int GENERATED ALWAYS AS IDENTITY, cron text, at timestamptz, last timestamptz, next timestamptz);
-- Computed by other programs: when it was due last by one that walks back day by day through
-- sets of numbers, when it is due next by pg_cron's own code, asked minute by minute.
INSERT INTO expression (cron, at, last, next) VALUES
	('*/7 7,*/15 5-17 Feb-Oct/3 *', '2040-10-02 22:42:14', '2040-08-17 15:56:00', '2041-02-05 00:00:00'),
	('* 12 * * 0-7,4-Sat/20', '1991-09-12 02:15:01', '1991-09-11 12:59:00', '1991-09-12 12:00:00'),
	('*/2,14,*/7 2 * *,* */2,5', '2076-12-17 18:53:31', '2076-12-17 02:58:00', '2076-12-18 02:00:00'),
	('* * 4-10,* Jan-11/5 *', '2022-06-10 09:31:09', '2022-06-10 09:31:00', '2022-06-10 09:32:00'),
	('* * 17 4-6/5 *', '2010-01-16 16:13:47', '2009-04-17 23:59:00', '2010-04-17 00:00:00'),
	('*/15,20-26,* 13-16,2-4/3 1-22 1 *,*,*/20', '2050-07-25 23:58:50', '2050-01-22 16:59:00', '2051-01-01 02:00:00'),
	('0 5,44,45 20 * * 0-5/1,*,*/5', '1997-06-23 07:27:54', '1997-06-22 20:45:00', '1997-06-23 20:05:00'),
	('8-19/1 * 24-25 Jul-8/5 *', '2069-03-03 04:08:02', '2068-07-25 23:19:00', '2069-07-24 00:08:00'),
	('15-19,11-29,28-41 *,22 3-27 *,*/2 *', '2079-06-15 04:04:31', '2079-06-15 03:41:00', '2079-06-15 04:11:00'),
	('* * 17-29/3 */3,2,3 3-6', '2073-08-12 22:27:22', '2073-07-29 23:59:00', '2073-10-04 00:00:00'),
	('0 5-32 4-18/20 21 1-3,5-8 6,03-Thu/5', '2024-09-17 13:04:12', '2024-08-31 04:32:00', '2025-01-01 04:05:00'),
	('3-3/1 *,15-23/20 23 7-Dec,Mar */15', '2078-01-23 15:53:03', '2076-08-23 23:03:00', '2078-10-23 00:03:00'),
	('26-42/2 * 14 3-5,Aug-Dec,Dec 6-7/10', '2019-10-10 16:20:22', '2019-10-05 23:42:00', '2019-10-12 00:26:00'),
	('* 18-21,* 26-29,7-9/3 */2 *', '2020-10-17 02:44:32', '2020-09-29 23:59:00', '2020-11-07 00:00:00'),
	('30,* 22,*/3 14-22 * */5,0-3', '2028-07-09 05:05:26', '2028-06-21 22:59:00', '2028-07-14 00:00:00'),
	('*,50,*/7 * * * *', '2033-12-04 18:21:49', '2033-12-04 18:21:00', '2033-12-04 18:22:00'),
	('0 36,43-55/7 11-22,00-5,20-21 * 2,1-6,*/3 0', '2023-02-14 23:37:19', '2023-02-12 22:50:00', '2023-02-19 00:36:00'),
	('*,2-4 18-21,*,6-9/7 2 06-Jul/7 Wed', '2105-09-29 14:35:04', '2105-06-24 23:59:00', '2106-06-02 00:00:00'),
	('11-36,31,18-53 * 24,15-27/5,* 7-8 */15', '2052-05-03 23:32:41', '2051-08-27 23:53:00', '2052-07-07 00:11:00'),
	('*/5,*,*/2 * * * *', '2020-01-28 10:40:44', '2020-01-28 10:40:00', '2020-01-28 10:41:00'),
	('*,25-51 */15 3-6/20 * *', '2075-09-19 05:00:52', '2075-09-03 15:59:00', '2075-10-03 00:00:00'),
	('* 16-21/2 8-11 5 *', '2089-10-15 20:55:02', '2089-05-11 20:59:00', '2090-05-08 16:00:00'),
	('11-50/1,*/3,18 4-18/3 *,6-8 12,Jul-Dec *', '2077-08-23 13:54:52', '2077-08-23 13:54:00', '2077-08-23 13:57:00'),
	('13 */10,20,2-12 * * *', '2015-02-03 18:06:26', '2015-02-03 12:13:00', '2015-02-03 20:13:00'),
	('0 * 9-12,6-19 * * *', '2048-09-05 06:09:55', '2048-09-05 06:09:00', '2048-09-05 06:10:00'),
	('* 15 8-9 * *,*,*/15', '2104-04-18 05:38:43', '2104-04-09 15:59:00', '2104-05-08 15:00:00'),
	('*/1 */10 *,28-29/10,2 1-3/15 4-6', '1996-10-06 01:28:41', '1996-01-27 20:59:00', '1997-01-02 00:00:00'),
	('* * * * *,Wed-5/7', '2033-10-16 12:14:52', '2033-10-16 12:14:00', '2033-10-16 12:15:00'),
	('21-23/20,*/20 9-12/7,*/20 15 4-Dec,7-10 *', '2089-12-05 04:21:16', '2089-11-15 20:40:00', '2089-12-15 00:00:00'),
	('0 4-18/5 * 24 11,* 6-Sat/15', '2027-05-23 23:38:10', '2027-05-22 23:14:00', '2027-05-24 00:04:00'),
	('59 9 * */3 7-7/2', '2046-05-17 23:45:38', '2046-04-29 09:59:00', '2046-07-01 09:59:00'),
	('0 * 5-17 */5 * 4-7/20,4', '2000-11-01 09:59:07', '2000-10-26 17:59:00', '2000-11-16 05:00:00'),
	('1-58/10 8-23 9-16/2,* * *', '2049-06-18 03:00:30', '2049-06-17 23:51:00', '2049-06-18 08:01:00'),
	('06-19,*/20 7-22 11 1-7 *', '2008-05-04 06:49:40', '2008-04-11 22:40:00', '2008-05-11 07:00:00'),
	('0 * 22,21 * * *', '2084-06-25 02:55:49', '2084-06-24 22:59:00', '2084-06-25 21:00:00'),
	('27 */10,2-20/1 * */7 1-4,*/5,*', '2103-03-02 11:16:10', '2103-01-31 20:27:00', '2103-08-01 00:27:00'),
	('* * 14,*,9-23 * *', '2028-06-20 13:42:05', '2028-06-20 13:42:00', '2028-06-20 13:43:00'),
	('18 * 4-11/2,8-20/20,2-31/10 1-7/15 3', '2110-01-18 17:13:51', '2110-01-15 23:18:00', '2110-01-22 00:18:00'),
	('* 1-8/20 *,1-16 10-11,1-9 *', '2016-11-19 02:49:01', '2016-11-19 01:59:00', '2016-11-20 01:00:00'),
	('* * * * 1,*/1', '2030-01-09 12:35:48', '2030-01-09 12:35:00', '2030-01-09 12:36:00'),
	('06-51 * * 7-08 Fri,*,*', '2102-07-17 13:36:59', '2102-07-17 13:36:00', '2102-07-17 13:37:00'),
	('28-33 */20 2-9 * *', '2107-10-26 09:29:48', '2107-10-09 20:33:00', '2107-11-02 00:28:00'),
	('29,*/3,8-59 *,*,18-21 1 1-04/3 Sun-2,6', '2043-08-24 05:08:06', '2043-04-28 23:59:00', '2044-01-01 00:00:00'),
	('20 * * * 0', '2030-01-31 08:28:28', '2030-01-27 23:20:00', '2030-02-03 00:20:00'),
	('* 3-19 6 Feb-9/5,*/2 00-4', '2030-04-21 14:11:08', '2030-03-31 19:59:00', '2030-05-01 03:00:00'),
	('49 * * Jan-Nov/20 *', '1998-02-18 01:20:19', '1998-01-31 23:49:00', '1999-01-01 00:49:00'),
	('45 */7 11,6-7/7,14 * *', '2083-12-05 15:48:29', '2083-11-14 21:45:00', '2083-12-06 00:45:00'),
	('33-46,3-15,*/10 * * */7 *', '2082-09-04 14:31:41', '2082-08-31 23:50:00', '2083-01-01 00:00:00'),
	('5-56,32-49,25 6-22/5,18,23 * Jan-6/3 Tue-6', '2088-12-01 23:24:49', '2088-04-30 23:56:00', '2089-01-01 06:05:00'),
	('0 */2 */5 */3 May-5 07', '2021-08-12 17:06:58', '2021-05-16 20:58:00', '2022-05-01 00:00:00'),
	('*,00-12 */20,* 16 Apr-07 *', '2085-12-11 15:24:52', '2085-07-16 23:59:00', '2086-04-16 00:00:00'),
	('24-33/2,*/7,*/7 1-20/2,7,10-14 31 1 *', '2023-08-12 15:46:42', '2023-01-31 19:56:00', '2024-01-31 01:00:00'),
	('* * * Dec *', '2038-05-15 04:57:10', '2037-12-31 23:59:00', '2038-12-01 00:00:00'),
	('6 * 9,7 5 2,Sun-Sun,00-3/20', '1999-03-16 05:45:45', '1998-05-31 23:06:00', '1999-05-02 00:06:00'),
	('* * 22-29,8-11,1-12 */2 */20', '2059-02-06 09:38:41', '2059-01-26 23:59:00', '2059-03-02 00:00:00'),
	('38-53 13,*/5,9-18/15 * 5 */15,3-7,2', '2107-09-13 22:14:29', '2107-05-31 20:53:00', '2108-05-01 00:38:00'),
	('*/5,* 8-17/2 12-27,7-17 4 2-5/2', '2085-06-09 10:58:54', '2085-04-27 16:59:00', '2086-04-02 08:00:00'),
	('* * 16-20 8 2-Fri', '2079-11-14 23:28:15', '2079-08-31 23:59:00', '2080-08-01 00:00:00'),
	('*,52,39 * 18-18/20 */2 Wed-6', '2046-04-20 05:13:33', '2046-03-31 23:59:00', '2046-05-02 00:00:00'),
	('18-40 6 * 10 7-7,*/1,5', '1998-04-17 17:46:53', '1997-10-31 06:40:00', '1998-10-01 06:18:00'),
	('9-50/3 */15,10-15,00 13 Jun *', '2074-11-26 13:36:41', '2074-06-13 15:48:00', '2075-06-13 00:09:00'),
	('28 5-7,8-16,03 29 */2 2-3', '2089-08-08 09:06:00', '2089-07-29 16:28:00', '2089-09-06 03:28:00'),
	('16-29 * 1-15/31 * */7', '2048-04-19 08:14:25', '2048-03-01 23:29:00', '2048-11-01 00:16:00'),
	('*,* 20,23,* * 4 *', '2055-06-10 06:43:19', '2055-04-30 23:59:00', '2056-04-01 00:00:00'),
	('* * * 1-3,8-8/10 1-01/10', '2022-06-30 13:45:32', '2022-03-28 23:59:00', '2022-08-01 00:00:00'),
	('30,21-36 * 14-29 1-11 */15', '2067-09-07 12:25:41', '2067-08-28 23:36:00', '2067-09-18 00:21:00'),
	('0-48,6-13,7-49 0-3 19-31,*/1 8 Sun', '2021-12-25 07:08:11', '2021-08-31 03:49:00', '2022-08-01 00:00:00'),
	('32 10-13/3,*/2 *,*/15,* Jan-5 5,Mon-5/3', '2052-08-19 02:33:14', '2052-05-31 22:32:00', '2053-01-02 00:32:00'),
	('*,* 10-23/3,*/2 */1 Apr,Sep *', '2101-06-23 12:40:39', '2101-04-30 22:59:00', '2101-09-01 00:00:00'),
	('0 37,52 * 15-17/10,12-14,12-20 Sep-09 4-5', '1992-03-17 03:16:38', '1991-09-27 23:52:00', '1992-09-03 00:37:00'),
	('0 13 6-17/1 16,9-27,14-29 2 *', '2011-02-01 08:01:21', '2010-02-28 17:13:00', '2011-02-09 06:13:00'),
	('* */20 25-27/1,25-28,8 */1 */15', '2004-04-02 08:46:45', '2004-03-28 20:59:00', '2004-04-25 00:00:00'),
	('00 30-53 7,* * 05-Jun *', '2068-10-17 09:19:28', '2068-06-30 23:53:00', '2069-05-01 00:30:00'),
	('* 9-17/20 12 1 Mon-Sat', '2038-09-20 23:59:56', '2038-01-30 09:59:00', '2039-01-01 09:00:00'),
	('* 2 4-20/10 5 *', '2024-10-06 12:57:11', '2024-05-14 02:59:00', '2025-05-04 02:00:00'),
	('0 0 29 2 *', '1903-03-01 00:00:00', '1896-02-29 00:00:00', '1904-02-29 00:00:00'),
	('0 0 29 2 *', '1899-03-01 00:00:00', '1896-02-29 00:00:00', '1904-02-29 00:00:00'),
	('0 0 29 2 *', '1904-03-01 00:00:00', '1904-02-29 00:00:00', '1908-02-29 00:00:00'),
	('0 0 29 2 *', '2000-03-01 00:00:00', '2000-02-29 00:00:00', '2004-02-29 00:00:00'),
	('0 0 29 2 *', '2100-03-01 00:00:00', '2096-02-29 00:00:00', '2104-02-29 00:00:00'),
	('0 0 29 2 *', '2107-03-01 00:00:00', '2104-02-29 00:00:00', '2108-02-29 00:00:00'),
	('0 0 29 2 *', '2108-03-01 00:00:00', '2108-02-29 00:00:00', '2112-02-29 00:00:00'),
	('0 0 29 2 */2', '1903-03-01 00:00:00', '1896-02-29 00:00:00', '1908-02-29 00:00:00'),
	('0 0 29 2 */2', '1899-03-01 00:00:00', '1896-02-29 00:00:00', '1908-02-29 00:00:00'),
	('0 0 29 2 */2', '1904-03-01 00:00:00', '1896-02-29 00:00:00', '1908-02-29 00:00:00'),
	('0 0 29 2 */2', '2000-03-01 00:00:00', '2000-02-29 00:00:00', '2004-02-29 00:00:00'),
	('0 0 29 2 */2', '2100-03-01 00:00:00', '2088-02-29 00:00:00', '2116-02-29 00:00:00'),
	('0 0 29 2 */2', '2107-03-01 00:00:00', '2088-02-29 00:00:00', '2116-02-29 00:00:00'),
	('0 0 29 2 */2', '2108-03-01 00:00:00', '2088-02-29 00:00:00', '2116-02-29 00:00:00');
-- By hand: what the fields begin and end with.
INSERT INTO expression (cron, at, last, next) VALUES
	('* * * * *', '2026-03-01 12:34:59.999', '2026-03-01 12:34', '2026-03-01 12:35'),
	('* * * * *', '2026-03-01 12:34:00', '2026-03-01 12:34', '2026-03-01 12:35'),
	('34 12 1 3 *', '2026-03-01 12:34:00', '2026-03-01 12:34', '2027-03-01 12:34'),
	('34 12 1 3 *', '2026-03-01 12:33:59.999', '2025-03-01 12:34', '2026-03-01 12:34'),
	('*/30 * * * *', '2026-03-01 00:29', '2026-03-01 00:00', '2026-03-01 00:30'),
	('0 */30 * * * *', '2026-03-01 00:29', '2026-03-01 00:00', '2026-03-01 00:30'),
	('00 0 9-17/4 * * Mon-Fri', '2026-03-01 12:00', '2026-02-27 17:00', '2026-03-02 09:00'),
	('59 23 31 12 *', '2027-01-01 00:00', '2026-12-31 23:59', '2027-12-31 23:59'),
	('0 0 31 * *', '2026-07-01 00:00', '2026-05-31 00:00', '2026-07-31 00:00'),
	('0 0 * * 7', '2026-03-04 00:00', '2026-03-01 00:00', '2026-03-08 00:00'),
	('0 0 * * 0', '2026-03-04 00:00', '2026-03-01 00:00', '2026-03-08 00:00'),
	('0 0 * * 5-7', '2026-03-04 00:00', '2026-03-01 00:00', '2026-03-06 00:00'),
	('0 0 * * sun', '2026-03-04 00:00', '2026-03-01 00:00', '2026-03-08 00:00'),
	-- day and weekday: either of them, if neither begins with a star
	('0 0 13 * 5', '2026-03-13 12:00', '2026-03-13 00:00', '2026-03-20 00:00'),
	('0 0 13 * 5', '2026-03-12 12:00', '2026-03-06 00:00', '2026-03-13 00:00'),
	('0 0 */13 * 5', '2026-03-12 12:00', '2026-02-27 00:00', '2026-03-27 00:00'),
	('0 0 13 * */5', '2026-03-12 12:00', '2026-02-13 00:00', '2026-03-13 00:00'),
	('@hourly', '2026-03-01 12:34', '2026-03-01 12:00', '2026-03-01 13:00'),
	('@Daily', '2026-03-01 12:34', '2026-03-01 00:00', '2026-03-02 00:00'),
	('@midnight', '2026-03-01 12:34', '2026-03-01 00:00', '2026-03-02 00:00'),
	('@weekly', '2026-03-04 12:34', '2026-03-01 00:00', '2026-03-08 00:00'),
	('@monthly', '2026-03-04 12:34', '2026-03-01 00:00', '2026-04-01 00:00'),
	('@yearly', '2026-03-04 12:34', '2026-01-01 00:00', '2027-01-01 00:00'),
	('@annually', '2026-03-04 12:34', '2026-01-01 00:00', '2027-01-01 00:00'),
	('30 seconds', '2026-03-01 12:00:10', '2026-03-01 11:59:40', '2026-03-01 12:00:40'),
	('1 second', '2026-03-01 12:00:10', '2026-03-01 12:00:09', '2026-03-01 12:00:11'),
	('   5	4 * * *  ', '2026-03-01 12:00', '2026-03-01 04:05', '2026-03-02 04:05');
SELECT count(*) AS cases FROM expression;
SELECT cron, at, next, syncext.cron_next_due(cron, at) AS found FROM expression WHERE syncext.cron_next_due(cron, at) <> next ORDER BY n;
SELECT cron, syncext.cron_error(cron) FROM expression WHERE syncext.cron_error(cron) IS NOT NULL;
-- so it is since it was due last, and then it was due
SELECT cron FROM expression WHERE cron NOT LIKE '%second%' AND (syncext.cron_next_due(cron, last) <> next OR syncext.cron_next_due(cron, last - interval '1 us') <> last);
-- In the time zone that pg_cron goes by, beside the minutes that the server says its clocks
-- show; those that they leave out count when that is over.
CREATE FUNCTION judged(zone text, begins timestamptz) RETURNS TABLE (zone text, times bigint, wrong bigint) LANGUAGE sql AS $$
	SELECT set_config('cron.timezone', $1, false);
	WITH shown AS MATERIALIZED (
		SELECT m AS at, m AT TIME ZONE $1 AS shown FROM generate_series($2, $2 + interval '4 days', '1 min') m
	), minute AS MATERIALIZED (
		TABLE shown
		UNION ALL
		SELECT (SELECT min(s.at) FROM shown s WHERE s.shown > t), t FROM generate_series($2 AT TIME ZONE $1, ($2 + interval '4 days') AT TIME ZONE $1, '1 min') t
		WHERE t AT TIME ZONE $1 AT TIME ZONE $1 <> t
	), expression (minutes, hours) AS (
		VALUES ('*', '*'), ('30', '*'), ('0,20,40', '*'), ('*', '2'), ('30', '2'), ('15,40', '2'), ('0', '0'), ('0', '3'), ('59', '1,23'), ('5,31', '2,3')
	), due AS MATERIALIZED (
		SELECT DISTINCT minutes, hours, at FROM expression
		JOIN minute ON (minutes = '*' OR extract(minute FROM shown)::text = ANY (string_to_array(minutes, ',')))
		               AND (hours = '*' OR extract(hour FROM shown)::text = ANY (string_to_array(hours, ',')))
	)
	SELECT $1, count(*), count(*) FILTER (WHERE syncext.cron_next_due(format('%s %s * * *', minutes, hours), after) IS DISTINCT FROM
	                                      (SELECT min(d.at) FROM due d WHERE d.minutes = e.minutes AND d.hours = e.hours AND d.at > after))
	FROM expression e CROSS JOIN generate_series($2, $2 + interval '50 hours', '23 min 30 s') after
$$;
SELECT j.* FROM (VALUES
	('Europe/Zurich', '2026-03-28'::timestamptz), ('Europe/Zurich', '2026-10-24'), ('America/New_York', '2026-03-07'), ('America/New_York', '2026-10-31'),
	-- half an hour; at midnight; a whole day
	('Australia/Lord_Howe', '2026-04-03'), ('Australia/Lord_Howe', '2026-10-02'), ('America/Santiago', '2026-04-04'), ('America/Santiago', '2026-09-05'), ('Pacific/Apia', '2011-12-29'),
	('Asia/Kathmandu', '2026-03-28')) z (zone, begins), judged(zone, begins) j;
-- the hour that is left out, and the one that comes twice
SET cron.timezone = 'Europe/Zurich';
SELECT after, syncext.cron_next_due('30 2 * * *', after) FROM unnest('{2026-02-01 12:00, 2026-07-01 00:20, 2026-07-01 00:30, 2026-03-28 12:00, 2026-03-29 01:30, 2026-10-24 12:00, 2026-10-25 00:30, 2026-10-25 01:30}'::timestamptz[]) after;
SET cron.timezone = 'nowhere';
SELECT syncext.cron_next_due('30 2 * * *', '2026-07-01 12:00');
RESET cron.timezone;
SELECT syncext.cron_next_due('* * * * *', 'infinity'), syncext.cron_next_due('* * * * *', '-infinity'), syncext.cron_next_due('* * * * *', NULL);
SELECT syncext.cron_next_due('* * * * *') = date_trunc('minute', now()) + interval '1 min' AS now;
-- the first time that there is, the last one, and none after it
SELECT syncext.cron_next_due('* * * * *', '4714-11-24 00:00 BC');
SELECT syncext.cron_next_due('0 0 1 1 *', '294275-12-31 23:59:59.999999'), syncext.cron_next_due('59 seconds', '294276-12-31 23:59:00');
SELECT syncext.cron_next_due('0 0 1 1 *', '294276-01-01');
SELECT syncext.cron_next_due('2 seconds', '294276-12-31 23:59:59');

-- what is none, and why
SELECT e AS expression, syncext.cron_error(e) FROM unnest(ARRAY['', ' ', '*', '* * * *', '1 * * * * *', '* * * * * *', '*/5 * * * * *', '0 * * * * * *', '* * * * * * * * * * * *',
	'60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 0 *', '* * * 13 *', '* * * * 8', '-1 * * * *', '+1 * * * *', '1.5 * * * *', '9999999999 * * * *',
	'5-1 * * * *', '1- * * * *', '-5 * * * *', '1-2-3 * * * *', '1-70 * * * *', '*-5 * * * *', '** * * * *',
	'*/0 * * * *', '*/ * * * *', '*/x * * * *', '5/10 * * * *', '1-10/2/2 * * * *', ', * * * *', '1, * * * *', '1,,2 * * * *', ',1 * * * *',
	'Jan * * * *', '* * * Foo *', '* * * January *', '* * * Ja *', '* * * * Mond', '* * * * Fri-Mon', '* * * Dec-Jan *', '* * ? * *', '* * L * *', '* * * * 5L', '* * * * 5#2',
	'0 0 30 2 *', '0 0 31 2,4,6,9,11 *', '@reboot', '@', '@every 5m', '0 seconds', '60 seconds', '-5 seconds', 'x seconds', '5.5 seconds', '30 minutes', 'seconds']) e;
SELECT syncext.cron_error(NULL);
SELECT syncext.cron_next_due('5/10 * * * *');

--
-- What may be scheduled
--
CREATE ROLE syncext_shop;
CREATE ROLE syncext_crm;
GRANT syncext_shop TO syncext_crm;
SELECT sync_add_source('Shop', 1, 'syncext_shop'), sync_add_source('CRM', 2, 'syncext_crm'), sync_add_source('ERP', 3);
GRANT ALL ON SCHEMA public TO syncext_shop, syncext_crm;
SET ROLE syncext_shop;
CREATE TABLE shop_item (id int PRIMARY KEY, name text);
CREATE TABLE shop_in (id int PRIMARY KEY, name text);
SELECT sync_attach('shop_item', 'Shop');
RESET ROLE;
\x
-- without pg_cron, what another scheduler has to do
SET ROLE syncext_shop;
SELECT * FROM attempt($$SELECT sync_schedule('shop_item', '0 */30 * * * *')$$);
SELECT * FROM attempt($$SELECT sync_schedule('shop_item', '30 seconds', 'deliver')$$);
RESET ROLE;
\x
SELECT command, t.* FROM unnest(ARRAY[
	$$SELECT sync_schedule(NULL, '* * * * *')$$,
	$$SELECT sync_schedule('shop_item', NULL)$$,
	$$SELECT sync_schedule('shop_in', '* * * * *')$$,
	$$SELECT sync_schedule(4711, '* * * * *')$$,
	$$SELECT sync_schedule('shop_item', '30 */5 * * * *')$$,
	$$SELECT sync_schedule('shop_item', '* * * * *', 'push')$$,
	$$SELECT sync_schedule('shop_item', '* * * * *', 'poll')$$,
	$$SELECT sync_schedule('shop_item', '* * * * *', 'both')$$,
	$$SELECT sync_unschedule('shop_item')$$,
	$$SELECT sync_unschedule('shop_in')$$]) command, attempt(command) t;
-- who may act as the source, and owns the relation
SET ROLE syncext_shop;
SELECT t.* FROM attempt($$SELECT sync_attach('shop_in', 'Shop', 'other')$$) t;
RESET ROLE;
SELECT sync_add_entity('other');
SELECT sync_attach('shop_in', 'ERP', 'other', direction => 'in');
SELECT t.* FROM attempt($$SELECT sync_schedule('shop_in', '* * * * *')$$) t;
SET ROLE syncext_shop;
SELECT t.* FROM attempt($$SELECT sync_schedule('shop_in', '* * * * *')$$) t;
SELECT t.* FROM attempt($$SELECT sync_unschedule('shop_in')$$) t;
RESET ROLE;
ALTER TABLE shop_item OWNER TO syncext_crm;
SET ROLE syncext_shop;
SELECT t.* FROM attempt($$SELECT sync_schedule('shop_item', '* * * * *')$$) t;
SELECT t.* FROM attempt($$SELECT sync_unschedule('shop_item')$$) t;
RESET ROLE;
ALTER TABLE shop_item OWNER TO syncext_shop;

--
-- Running
--
SELECT count(sync_apply(jsonb_build_object('externalId', n::text, 'source', 'CRM', 'version', 1, 'name', 'item ' || n))) FROM generate_series(1, 1200) n;
CREATE VIEW run AS SELECT job, status, attempt, scheduled_for IS NOT NULL AS scheduled, counts->'delivered' AS delivered, error, ended_at >= started_at AS ended, role FROM syncext.job_run ORDER BY id;
SELECT sync_deliver('Shop', 100);
SET ROLE syncext_shop;
CALL syncext.run_job('shop_item') \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
CALL syncext.run_job('shop_item', 'deliver') \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
RESET ROLE;
SELECT count(*) FROM shop_item;
SELECT * FROM run;
-- wrong calls leave no run
CALL syncext.run_job('shop_item', 'poll');
CALL syncext.run_job('shop_in');
CALL syncext.run_job();
CALL syncext.run_job('shop_item', schedule => 1);
CALL syncext.run_job(schedule => 1);
BEGIN;
CALL syncext.run_job('shop_item');
ROLLBACK;
BEGIN;
CALL syncext.catch_up();
ROLLBACK;
SET ROLE syncext_shop;
CALL syncext.run_job('shop_in');
RESET ROLE;
SELECT count(*) FROM run;

--
-- By schedule: what sync_schedule would have written
--
\set VERBOSITY terse
INSERT INTO syncext.schedule (relation, cron, job, role, name) VALUES ('shop_item', '*/5 * * * *', 'sync', 'syncext_shop', 'syncext: shop_item');
INSERT INTO syncext.schedule (relation, cron, job, role, name) VALUES ('shop_item', '5/5 * * * *', 'deliver', 'syncext_shop', 'syncext: shop_item');
\set VERBOSITY default
SELECT setval('syncext.schedule_id_seq', 99) \g /dev/null
SELECT syncext.note_schedule('shop_item', '0 0 1 1 *', 'deliver', 'syncext_shop', 'syncext: shop_item');
CREATE VIEW state AS
	SELECT j.job, j.status, j.failures, CASE WHEN j.next_run < now() + interval '1 hour' THEN j.next_run - coalesce(j.ended_at, j.started_at) END AS again,
	       extract(year FROM j.next_run) - extract(year FROM now()) AS years, j.missed
	FROM syncext.job_status j;
-- new: nothing was missed
SELECT * FROM state;
DELETE FROM syncext.job_run;
SELECT * FROM state;
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
-- it has not run since it was due: that was missed, and is caught up once, however often it was due
UPDATE syncext.job_state SET next_due = next_due - interval '4 years';
SELECT * FROM state;
-- not by other roles
SET ROLE syncext_crm;
CALL syncext.catch_up();
SET ROLE syncext_shop;
CALL syncext.catch_up();
CALL syncext.catch_up();
CALL syncext.run_job(schedule => 100) \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
RESET ROLE;
SELECT * FROM run;
-- the second came before it was due
SELECT extract(year FROM scheduled_for) - extract(year FROM now()) AS years, scheduled_for = started_at AS at_once FROM syncext.job_run ORDER BY id;
SELECT * FROM state;
-- what is due just now, or was while the last run went on, is pg_cron's to begin
UPDATE syncext.job_state SET next_due = now() - interval '29 s';
SELECT missed FROM state;
UPDATE syncext.job_state SET next_due = now() - interval '1 hour';
SELECT missed FROM state;
UPDATE syncext.job_run SET started_at = started_at - interval '31 s', ended_at = ended_at - interval '31 s';
SELECT missed FROM state;
-- a skipped run counts as one: what was going on did the work
SELECT FROM syncext.skip_job_run('shop_item', 'deliver', true, 'syncext_shop', 4711);
SELECT * FROM state;
SELECT status, now() - scheduled_for > interval '1 hour' AS late, error, ended_at = started_at AS ended FROM syncext.job_run ORDER BY id DESC LIMIT 1;
-- a schedule that is noted once more may have been missed; another one begins anew
CREATE FUNCTION noted(cron text, job text) RETURNS TABLE (job text, years numeric, month numeric, missed boolean) LANGUAGE sql AS $$
	UPDATE syncext.job_state SET next_due = next_due - interval '4 years';
	SELECT syncext.note_schedule('shop_item', $1, $2, 'syncext_shop', 'syncext: shop_item');
	SELECT s.job, extract(year FROM s.next_run) - extract(year FROM now()), extract(month FROM s.next_run), s.missed FROM syncext.job_status s ORDER BY 1;
$$;
SELECT * FROM noted('0 0 1 1 *', 'deliver');
SELECT job, missed FROM noted('0 0 1 1 0', 'deliver');
SELECT * FROM noted('0 0 1 1 *', 'deliver');
SELECT * FROM noted('0 0 1 1 *', 'both');
SELECT * FROM noted('0 0 1 1 *', 'deliver');
DELETE FROM syncext.job_state WHERE job = 'poll';

-- a run that fails is tried again, later each time, and then given up
DELETE FROM syncext.job_run;
UPDATE syncext.source SET role = 'syncext_crm', retry_cap = 3 WHERE name = 'Shop';
SET ROLE syncext_shop;
CALL syncext.run_job(schedule => 100);
RESET ROLE;
SELECT * FROM run;
SELECT * FROM state;
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
-- an attempt is due
UPDATE syncext.job_state SET retry_at = now();
SELECT missed FROM state;
SET syncext.retry_max = '45s';
SET ROLE syncext_shop;
CALL syncext.catch_up();
CALL syncext.catch_up();
RESET ROLE;
SELECT * FROM state;
RESET syncext.retry_max;
UPDATE syncext.job_state SET retry_at = now();
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
-- in its turn alone
SELECT * FROM state;
UPDATE syncext.job_run SET ended_at = ended_at - interval '1 day', started_at = started_at - interval '1 day';
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
SELECT * FROM run;
UPDATE syncext.job_state SET next_due = next_due - interval '2 years';
SELECT missed FROM state;
-- the next one in turn goes on counting, and one that succeeds ends it
UPDATE syncext.source SET role = 'syncext_shop' WHERE name = 'Shop';
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
SELECT * FROM run OFFSET 3;
SELECT * FROM state;

-- a run whose session is gone was interrupted
SELECT syncext.begin_job_run('shop_item', 'deliver', true, 'syncext_shop') AS run \gset
UPDATE syncext.job_state SET retry_at = retry_at - interval '1 hour';
UPDATE syncext.job_run SET started_at = started_at - interval '1 hour' WHERE id = :run;
SELECT * FROM state;
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
SELECT status, error, attempt FROM syncext.job_run ORDER BY id DESC LIMIT 2;

-- sync_maintain removes old runs, but for the last that ran
UPDATE syncext.job_run SET started_at = started_at - interval '40 days', ended_at = ended_at - interval '40 days';
SELECT FROM syncext.skip_job_run('shop_item', 'deliver', false, 'syncext_shop', 4711);
SELECT count(*) > 2 AS several FROM syncext.job_run;
DO $$ DECLARE r jsonb; BEGIN CALL sync_maintain(r); RAISE NOTICE 'runs: %', r->'runs'; END $$;
SELECT status FROM syncext.job_run ORDER BY id;

-- another role's
SET ROLE syncext_crm;
CALL syncext.run_job(schedule => 100) \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
SET ROLE pg_monitor;
CALL syncext.run_job(schedule => 100);
CALL syncext.run_job('shop_item');
RESET ROLE;

-- what becomes of a schedule
SELECT count(*) FROM syncext.schedule;
SET ROLE syncext_shop;
SELECT sync_unschedule('shop_item');
RESET ROLE;
SELECT count(*) FROM syncext.schedule;
SELECT FROM syncext.note_schedule('shop_item', '*/5 * * * *', 'deliver', 'syncext_shop', 'syncext: shop_item');
SELECT sync_detach('shop_item');
SELECT count(*) AS schedules, (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM syncext.job_state) AS states FROM syncext.schedule;
SELECT sync_attach('shop_item', 'Shop');
SELECT FROM syncext.note_schedule('shop_item', '0 0 1 1 *', 'deliver', 'syncext_shop', 'syncext: shop_item');
SELECT 'shop_item'::regclass::oid AS oid \gset
DROP TABLE shop_item;
SELECT replace(t.said, :'oid', '<oid>') AS said, replace(t.hint, :'oid', '<oid>') AS hint FROM attempt(format('SELECT sync_unschedule(%s)', :oid)) t;
UPDATE syncext.job_state SET next_due = next_due - interval '2 years';
\set VERBOSITY sqlstate
SET ROLE syncext_shop;
CALL syncext.catch_up();
RESET ROLE;
\set VERBOSITY default
SELECT job, status, replace(error, :'oid', '<oid>') AS error FROM syncext.job_run;
SELECT sync_detach(:oid);
SELECT count(*) FROM syncext.schedule;

DROP TABLE expression, shop_in CASCADE;
DROP VIEW run, state;
DROP FUNCTION noted, judged;
SELECT sync_detach(relation) FROM syncext.binding;
DROP EXTENSION syncext;
REVOKE ALL ON SCHEMA public FROM syncext_shop, syncext_crm;
DROP ROLE syncext_shop, syncext_crm;
