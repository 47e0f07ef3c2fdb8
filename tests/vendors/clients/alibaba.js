// Runs one of the vendor's Node clients as a caller would; only endpoint, protocol and key are set.
//
//   alibaba.js CLIENT HOST:PORT KEY SECRET [KEY SECRET]…
//
// Reads requests, one JSON object a line with the index of the pair to use, and writes what the client returned or
// raised, one JSON line each. The first line it writes says that it is ready.
'use strict';

const readline = require('readline');

const TIMEOUT_MS = 20000;

// @alicloud/cloudauth20190307
function cloudauth(endpoint, accessKeyId, accessKeySecret) {
  const vendor = require('@alicloud/cloudauth20190307');
  const { $OpenApiUtil } = require('@alicloud/openapi-core');
  const { RuntimeOptions } = require('@darabonba/typescript');
  const config = new $OpenApiUtil.Config({ accessKeyId, accessKeySecret, endpoint, protocol: 'http' });
  const client = new vendor.default(config);
  const runtime = new RuntimeOptions({ readTimeout: TIMEOUT_MS, connectTimeout: TIMEOUT_MS });
  return async (name, idNumber) => {
    const request = new vendor.Id2MetaVerifyRequest({ paramType: 'normal', userName: name, identifyNum: idNumber });
    const response = await client.id2MetaVerifyWithOptions(request, runtime);
    return { outcome: 'returned', status: response.statusCode, body: response.body.toMap() };
  };
}

// @alicloud/pop-core: the older signature, with the parameters in the form or the query.
function popCore(method) {
  return (endpoint, accessKeyId, accessKeySecret) => {
    const { RPCClient } = require('@alicloud/pop-core');
    const client = new RPCClient({
      accessKeyId, accessKeySecret, endpoint: `http://${endpoint}`, apiVersion: '2019-03-07',
    });
    return async (name, idNumber) => {
      const parameters = { ParamType: 'normal', UserName: name, IdentifyNum: idNumber };
      const body = await client.request('Id2MetaVerify', parameters, { method, timeout: TIMEOUT_MS });
      return { outcome: 'returned', body };
    };
  };
}

// aliyun-api-gateway: signs with an AppKey pair, or sends an AppCode.
function market(signs, path) {
  return (endpoint, key, secret) => {
    const vendor = require('aliyun-api-gateway');
    const client = signs ? new vendor.Client(key, secret) : new vendor.SimpleClient(key);
    const url = `http://${endpoint}${path}`;
    return async (name, idNumber) => {
      const body = path === '/idcard'
        ? await client.get(url, { query: { xm: name, sfz: idNumber }, timeout: TIMEOUT_MS })
        : await client.post(url, {
          headers: { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8' },
          data: { idNo: idNumber, name },
          timeout: TIMEOUT_MS,
        });
      return { outcome: 'returned', body };
    };
  };
}

const CLIENTS = {
  'cloudauth': cloudauth,
  'pop-core-post': popCore('POST'),
  'pop-core-get': popCore('GET'),
  'signed-idcard': market(true, '/idcard'),
  'signed-iden': market(true, '/idenAuthentication'),
  'appcode-idcard': market(false, '/idcard'),
  'appcode-iden': market(false, '/idenAuthentication'),
};

// What a caller can read from an error, with the same names for all clients.
function raised(error) {
  const status = error.statusCode ?? (typeof error.code === 'number' ? error.code : undefined);
  const code = typeof error.code === 'string' ? error.code : undefined;
  const headers = error.data && error.data.headers;
  return {
    outcome: 'raised',
    type: error.name,
    status,
    code: code ?? (headers && headers['x-ca-error-code']),
    retry_after: error.retryAfter,
    message: error.message,
  };
}

async function main() {
  const [kind, endpoint, ...keys] = process.argv.slice(2);
  const clients = [];
  for (let at = 0; at < keys.length; at += 2) {
    clients.push(CLIENTS[kind](endpoint, keys[at], keys[at + 1]));
  }
  console.log(JSON.stringify('ready'));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    let said;
    try {
      said = await clients[question.pair](question.name, question.id_number);
    } catch (error) {
      said = raised(error);
    }
    console.log(JSON.stringify(said));
  }
}

main();
