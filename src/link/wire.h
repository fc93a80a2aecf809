/*
 * wire.h
 *	  Text as it goes over a link, in an encoding that both sides can tell.
 *
 * What this database's encoding can't hold must be seen record by record: the
 * other side's server, asked for our encoding, would refuse the whole answer.
 * So it is asked for UTF-8, and the conversion is done here.
 */
#ifndef SYNCEXT_WIRE_H
#define SYNCEXT_WIRE_H

/* Find out how to convert; in a transaction, before anything else here is called. */
extern void wire_prepare(void);
extern const char *wire_encoding_name(void);

/*
 * Convert between this database's encoding and the wire's; no transaction is
 * needed.  Returns NULL, and in *why the reason, where the text is not valid, or
 * has a character that the other encoding has not.  What needs no conversion is
 * returned as it is.
 */
extern const char *wire_in(const char *text, int len, const char **why);
extern const char *wire_out(const char *text, const char **why);
/* Like wire_out(), but raises. */
extern const char *wire_out_required(const char *text);

/*
 * A message of the other side or of libpq, as one line that this database's log and
 * tables can hold: characters that can't be converted become question marks, and a long
 * message loses its end.
 */
extern char *wire_message(const char *text);

#endif							/* SYNCEXT_WIRE_H */
