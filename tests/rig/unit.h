/* unit.h - for the unit tests: everything inside jobq, as if it were their own.
 *
 * Usually that is the generated file itself, so what is tested is what ships. With
 * JOBQ_MODULES (make modules) it is the headers of the modules, and the test is linked
 * with their objects. To build both ways a unit test calls only what a header of
 * amalgamation/ declares, and does not look into structs that only a .c file knows. */
#ifndef JOBQ_UNIT_H
#define JOBQ_UNIT_H

#ifdef JOBQ_MODULES
#include "modules.h" /* made by the Makefile: one #include per header in MANIFEST */
#else
#include "../../jobq.c"
#endif

#endif
