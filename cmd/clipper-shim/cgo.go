package main

import "C" // builds pause.c into the program
