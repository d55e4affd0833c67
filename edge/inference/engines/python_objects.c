/* Converts Python's objects for the forest: rows from lists or from the text of a request, and answers to lists.
 *
 * It calls only functions of Python's stable ABI, and declares them here. So one library works with every Python from
 * 3.10 on, and is compiled for a device without that device's headers
 * (https://docs.python.org/3/c-api/stable.html). forest.py calls it by ctypes.PyDLL, which holds the GIL and raises
 * the exception that was set.
 */
#include "forest.h"
#include "json_rows.h"

typedef struct _object PyObject;
typedef intptr_t Py_ssize_t;
extern PyObject *PyExc_ValueError;
PyObject *PyErr_Format(PyObject *, const char *, ...);
PyObject *PyErr_Occurred(void);
void PyErr_Clear(void);
double PyFloat_AsDouble(PyObject *);
PyObject *PyFloat_FromDouble(double);
PyObject *PyList_New(Py_ssize_t);
Py_ssize_t PyList_Size(PyObject *);
PyObject *PyList_GetItem(PyObject *, Py_ssize_t); /* A borrowed reference. */
int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *); /* It takes the reference. */
int PyList_Append(PyObject *, PyObject *);
const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
PyObject *Py_BuildValue(const char *, ...);
void Py_DecRef(PyObject *);
void *PyEval_SaveThread(void);
void PyEval_RestoreThread(void *);

enum { BRIEF_STEPS = 100000 }; /* Steps from node to node: 0.2 ms (2026-11-23). */

/* Releasing the GIL costs more than a brief evaluation, but keeping it in a long one blocks the other threads.
 * `held` has the steps since its last release. */
static void walk(const Forest *forest, int64_t count, int64_t *held) {
    *held += count * forest->steps;
    if (*held <= BRIEF_STEPS) {
        forest_predict(forest, count);
        return;
    }
    void *thread = PyEval_SaveThread();
    forest_predict(forest, count);
    PyEval_RestoreThread(thread);
    *held = 0;
}

/* A number, or a list of numbers; NULL if Python has no memory. */
static PyObject *answer(const Forest *forest, int64_t row) {
    const uint32_t outputs = forest->header->transform == SOFTMAX ? 1 : forest->header->outputs;
    const float *sums = forest->sums + row * outputs;
    if (outputs == 1) return PyFloat_FromDouble(sums[0]);
    PyObject *list = PyList_New(outputs);
    for (uint32_t output = 0; list && output < outputs; output++) {
        PyObject *number = PyFloat_FromDouble(sums[output]);
        if (!number || PyList_SetItem(list, output, number)) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* Copy a list into a row. If it fails, an exception is set. */
static int taken(const Forest *forest, PyObject *list, Py_ssize_t number, float *row) {
    const Py_ssize_t features = forest->header->features;
    const Py_ssize_t length = list ? PyList_Size(list) : -1;
    if (length != features) {
        PyErr_Format(PyExc_ValueError, "row %zd has %zd values instead of %zd", number, length, features);
        return 0;
    }
    for (Py_ssize_t feature = 0; feature < features; feature++) {
        const double value = PyFloat_AsDouble(PyList_GetItem(list, feature));
        if (value == -1 && PyErr_Occurred()) return 0;
        row[feature] = (float)value;
    }
    return 1;
}

/* The list of answers to a list of lists. */
PyObject *answers_to_lists(const Forest *forest, PyObject *lists) {
    const Py_ssize_t count = PyList_Size(lists);
    PyObject *answers = count < 0 ? NULL : PyList_New(count);
    int64_t held = 0;
    for (Py_ssize_t done = 0; answers && done < count;) {
        const int64_t now = count - done < forest->at_once ? count - done : forest->at_once;
        for (int64_t row = 0; row < now; row++) {
            float *values = forest->rows + row * forest->header->features;
            if (!taken(forest, PyList_GetItem(lists, done + row), done + row, values)) goto failed;
        }
        walk(forest, now, &held);
        for (int64_t row = 0; row < now; row++, done++) {
            PyObject *found = answer(forest, row);
            if (!found || PyList_SetItem(answers, done, found)) goto failed;
        }
    }
    return answers;
failed:
    Py_DecRef(answers);
    return NULL;
}

static int append(const Forest *forest, PyObject *answers, int64_t count, int64_t *held) {
    walk(forest, count, held);
    for (int64_t row = 0; row < count; row++) {
        PyObject *found = answer(forest, row);
        const int wrong = !found || PyList_Append(answers, found);
        if (found) Py_DecRef(found);
        if (wrong) return 0;
    }
    return 1;
}

/* The list of answers to a text of at most `most` plain records; None for any other text. */
PyObject *answers_to_text(const Forest *forest, Names *names, PyObject *text, int64_t most) {
    Py_ssize_t size;
    const char *at = PyUnicode_AsUTF8AndSize(text, &size);
    if (!at) { /* It is one half of a surrogate pair. */
        PyErr_Clear();
        return Py_BuildValue("");
    }
    const char *end = at + size;
    at = records_skip(at);
    if (*at != '[') return Py_BuildValue("");
    PyObject *answers = PyList_New(0);
    int64_t count = 0, held = 0;
    do {
        if (count == forest->at_once) {
            if (!answers || !append(forest, answers, count, &held)) goto failed;
            most -= count;
            count = 0;
        }
        if (count == most) goto other;
        at = records_row(names, records_skip(at + 1), end, forest->rows + count++ * forest->header->features);
        if (!at) goto other;
        at = records_skip(at);
    } while (*at == ',');
    if (*at != ']' || records_skip(at + 1) != end) goto other;
    if (!answers || !append(forest, answers, count, &held)) goto failed;
    return answers;
other:
    Py_DecRef(answers);
    return Py_BuildValue("");
failed:
    Py_DecRef(answers);
    return NULL;
}
