// Package podgc deletes pods that nobody will ever run or look at again.
package podgc
