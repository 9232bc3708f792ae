// What a compiled filter begins with; package shim writes it (filterMark).
#define FILTER_MARK "CLIPBPF1"
