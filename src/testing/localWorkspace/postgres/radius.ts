/** The RADIUS server with which Postgres checks the passwords of logins. */
import { Effect, type Scope } from "effect"
import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import { createSocket } from "node:dgram"

// RFC 2865 names the codes and attributes; RFC 3579 the Message-Authenticator.
const accessRequest = 1
const accessAccept = 2
const accessReject = 3
const userName = 1
const userPassword = 2
const messageAuthenticatorType = 80
const headerLength = 20
const blockLength = 16

const md5 = (...parts: ReadonlyArray<Uint8Array>) => {
  const hash = createHash("md5")
  for (const part of parts) hash.update(part)
  return hash.digest()
}

interface Attribute {
  readonly type: number
  readonly offset: number
  readonly value: Buffer
}

const attributesOf = (packet: Buffer): ReadonlyArray<Attribute> | undefined => {
  const attributes: Array<Attribute> = []
  let offset = headerLength
  while (offset < packet.length) {
    const length = packet[offset + 1] ?? 0
    if (length < 2 || offset + length > packet.length) return undefined
    attributes.push({ type: packet[offset] ?? 0, offset, value: packet.subarray(offset + 2, offset + length) })
    offset += length
  }
  return attributes
}

const decryptPassword = (hidden: Buffer, secret: Buffer, authenticator: Buffer) => {
  const plain = Buffer.alloc(hidden.length)
  let previous = authenticator
  for (let start = 0; start < hidden.length; start += blockLength) {
    const pad = md5(secret, previous)
    for (let i = 0; i < blockLength; i++) plain[start + i] = (hidden[start + i] ?? 0) ^ (pad[i] ?? 0)
    previous = hidden.subarray(start, start + blockLength)
  }
  const end = plain.indexOf(0)
  return plain.subarray(0, end === -1 ? plain.length : end).toString("utf8")
}

/** Returns the signature of a packet, computed with zeros in place of the signature. */
const messageAuthenticator = (packet: Buffer, valueOffset: number, secret: Buffer) => {
  const blank = Buffer.from(packet)
  blank.fill(0, valueOffset, valueOffset + blockLength)
  return createHmac("md5", secret).update(blank).digest()
}

const replyTo = (request: Buffer, accepted: boolean, secret: Buffer) => {
  const reply = Buffer.alloc(headerLength + 2 + blockLength)
  reply[0] = accepted ? accessAccept : accessReject
  reply[1] = request[1] ?? 0
  reply.writeUInt16BE(reply.length, 2)
  request.copy(reply, 4, 4, headerLength)
  reply[headerLength] = messageAuthenticatorType
  reply[headerLength + 1] = 2 + blockLength
  messageAuthenticator(reply, headerLength + 2, secret).copy(reply, headerLength + 2)
  // The response authenticator covers the request's, which the reply still contains.
  md5(reply, secret).copy(reply, 4)
  return reply
}

/** Returns the reply to a packet, or `undefined` for a malformed request or a wrong secret. */
export const respond = (
  packet: Buffer,
  secret: Buffer,
  accepts: (user: string, password: string) => boolean
): Buffer | undefined => {
  if (packet.length < headerLength || packet[0] !== accessRequest || packet.readUInt16BE(2) !== packet.length) {
    return undefined
  }
  const attributes = attributesOf(packet)
  const user = attributes?.find((attribute) => attribute.type === userName)
  const password = attributes?.find((attribute) => attribute.type === userPassword)
  if (user === undefined || password === undefined || password.value.length % blockLength !== 0) return undefined
  const signature = attributes?.find((attribute) => attribute.type === messageAuthenticatorType)
  if (signature !== undefined) {
    const expected = messageAuthenticator(packet, signature.offset + 2, secret)
    if (signature.value.length !== blockLength || !timingSafeEqual(signature.value, expected)) return undefined
  }
  const plain = decryptPassword(password.value, secret, packet.subarray(4, headerLength))
  return replyTo(packet, accepts(user.value.toString("utf8"), plain), secret)
}

/** Listens on a free UDP port of the loopback interface until the scope closes, and returns the port. */
export const listen = (
  secret: string,
  accepts: (user: string, password: string) => boolean
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly port: number; readonly close: Effect.Effect<void> }>((resume) => {
        const socket = createSocket("udp4")
        const key = Buffer.from(secret, "utf8")
        socket.once("error", (error) => resume(Effect.die(error)))
        socket.on("message", (packet, peer) => {
          const reply = respond(packet, key, accepts)
          if (reply !== undefined) socket.send(reply, peer.port, peer.address)
        })
        socket.bind(0, "127.0.0.1", () => {
          const close = Effect.callback<void>((done) => {
            socket.close(() => done(Effect.void))
          })
          resume(Effect.succeed({ port: socket.address().port, close }))
        })
      }),
      (responder) => responder.close
    ),
    (responder) => responder.port
  )
