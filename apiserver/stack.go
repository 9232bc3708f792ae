package apiserver

// stackRoom is what the way of an ordinary request needs: decoding, admission, validation, commit.
const stackRoom = 12 << 10

// growStack makes room on a new goroutine's stack at once. Otherwise the runtime doubles it some three times on
// the way, and each time it rewrites all frames that are there by then: a tenth of a write's processor time.
// A stack that is not used, such as that of a watch, is shrunk again by the garbage collector.
//
//go:noinline
func growStack(i int) byte {
	var room [stackRoom]byte
	return room[i&(stackRoom-1)] // an index that is not constant keeps the array
}
