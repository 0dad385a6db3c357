/**
 * Node's modules of HTTP. To import them reads their lazy exports, among them `WebSocket`, for which Node loads its own
 * copy of undici.
 */
export const http = process.getBuiltinModule("node:http")
export const https = process.getBuiltinModule("node:https")
