import { open } from "./desk.js"

// The proxy adds who it is.
await open([{ name: "You", headers: {} }])
