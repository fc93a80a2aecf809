/*
 * names.h
 *	  Arrays of names, as columns and arguments hold them; a relation's name.
 */
#ifndef SYNCEXT_NAMES_H
#define SYNCEXT_NAMES_H

/*
 * The elements of a text[], in order, however many dimensions it has.  A null is
 * no name: it is left out, or, where what says whose it is, raises 22004.
 */
extern char **names_of_array(Datum array, const char *what, int *n);

/* A relation's name, qualified and quoted. */
extern char *names_of_relation(Oid relid);

#endif							/* SYNCEXT_NAMES_H */
