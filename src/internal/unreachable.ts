/** Advice for a connection that fails, by the code of the failure. */
import * as Proxy from "./proxy.ts"

/** Returns the advice for a certificate, a TLS handshake or a proxy, else `other`. */
export const advice = (code: string | undefined, other: string): string =>
  (code && (Proxy.adviceOf(code) ?? ofTls(code))) ?? other

// The codes are OpenSSL's, except for Node's own code for a wrong host name.
const ofTls = (code: string) => {
  if (/^(CERT|CRL)_HAS_EXPIRED$|_NOT_YET_VALID$/.test(code)) {
    return "the certificate of the server is not valid at this time: renew it, and check the clock"
  }
  if (/ALTNAME|HOSTNAME_MISMATCH/.test(code)) {
    return "the certificate of the server is for another host name: check the address"
  }
  if (/CERT|^UNABLE_TO_|^CRL_|^INVALID_(CA|PURPOSE)$|^PATH_LENGTH_EXCEEDED$/.test(code)) {
    return "the certificate of the server is not trusted: if an authority of your own signed it, name the authority's certificate file in NODE_EXTRA_CA_CERTS and start Node again"
  }
  return /^ERR_(SSL|TLS)_|^EPROTO$/.test(code)
    ? "the TLS handshake failed: check that the server speaks TLS at this address"
    : undefined
}
