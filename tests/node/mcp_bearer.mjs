// Has a program that knows nothing of tokens show one to this origin:
//
//   BEARER=… ORIGIN=http://127.0.0.1:8000 node --import ./mcp_bearer.mjs program.mjs
import { npm } from "./mcp_http.mjs";

const { Agent, setGlobalDispatcher } = npm("undici");
const authorization = `Bearer ${process.env.BEARER}`;
const signed = (headers) =>
  Array.isArray(headers) ? [...headers, "authorization", authorization] : { ...headers, authorization };
const sign = (dispatch) => (options, handler) =>
  dispatch(String(options.origin) === process.env.ORIGIN ? { ...options, headers: signed(options.headers) } : options, handler);
setGlobalDispatcher(new Agent().compose(sign));
