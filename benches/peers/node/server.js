'use strict';
// What a Node team would write: Fastify, the vendor's SDK, opossum, lru-cache, prom-client.
const { createHmac, randomUUID, timingSafeEqual } = require('node:crypto');
const { default: CloudAuth, Id2MetaVerifyRequest } = require('@alicloud/cloudauth20190307');
const { $OpenApiUtil } = require('@alicloud/openapi-core');
const { RuntimeOptions } = require('@darabonba/typescript');
const CircuitBreaker = require('opossum');
const { LRUCache } = require('lru-cache');
const prom = require('prom-client');
const fastify = require('fastify')({ logger: false, bodyLimit: 16384, keepAliveTimeout: 3600e3 });

function provider(endpoint) {
  const keys = { accessKeyId: 'bench-id', accessKeySecret: 'bench-secret' };
  const client = new CloudAuth(new $OpenApiUtil.Config({ ...keys, protocol: 'HTTP', endpoint }));
  // Its HTTP client also ends a call whose answer takes longer than this.
  const runtime = new RuntimeOptions({ connectTimeout: 10000, readTimeout: 10000, autoretry: false });
  return (name, idNumber) => client.id2MetaVerifyWithOptions(
    new Id2MetaVerifyRequest({ paramType: 'normal', userName: name, identifyNum: idNumber }),
    runtime,
  );
}

prom.collectDefaultMetrics();
const total = new prom.Counter({ name: 'verify_total', help: 'answers', labelNames: ['outcome', 'source'] });
const seconds = new prom.Histogram({ name: 'verify_seconds', help: 'time per answer', labelNames: ['source'] });

const options = { timeout: 12000, errorThresholdPercentage: 50, resetTimeout: 10000, capacity: 20000 };
const second = new CircuitBreaker(provider(process.env.UPSTREAM), options);
const main = new CircuitBreaker(provider(process.env.UPSTREAM), options);
main.fallback(async (name, idNumber) => ({ ...(await second.fire(name, idNumber)), provider: 'second' }));

const cache = new LRUCache({ max: 1_000_000, ttl: 24 * 3600e3 });
const secret = 'bench-digest-key-0123456789abcdef';
const apiKey = Buffer.from('Bearer bench-key');

const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
function isValid(number) {
  const sum = weights.reduce((sofar, weight, i) => sofar + (number.charCodeAt(i) - 48) * weight, 0);
  const [month, day] = [Number(number.slice(10, 12)), Number(number.slice(12, 14))];
  return '10X98765432'[sum % 11] === number[17] && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

fastify.addHook('onRequest', async (request, reply) => {
  const got = Buffer.from(request.headers.authorization || '');
  if (got.length !== apiKey.length || !timingSafeEqual(got, apiKey)) {
    return reply.code(401).send({ error: 'unauthorized' });
  }
});

const outcomes = { 1: 'match', 2: 'mismatch', 3: 'no_record' };
const text = { type: 'string' };
const schema = {
  body: {
    type: 'object',
    required: ['name', 'id_number'],
    additionalProperties: false,
    properties: {
      name: { type: 'string', minLength: 2, maxLength: 60 },
      id_number: { type: 'string', pattern: '^[1-9][0-9]{16}[0-9X]$' },
    },
  },
  response: {
    200: {
      type: 'object',
      properties: {
        request_id: text, outcome: text, matched: { type: 'boolean' }, code: text, message: text, provider: text,
        provider_request_id: text, cached: { type: 'boolean' }, degraded: { type: 'boolean' }, checked_at: text,
        expires_at: text, elapsed_us: { type: 'integer' },
      },
    },
  },
};
fastify.post('/v1/verify', { schema }, async (request, reply) => {
  const from = process.hrtime.bigint();
  const { name, id_number: idNumber } = request.body;
  if (!isValid(idNumber)) return reply.code(400).send({ error: 'id_number' });
  const key = createHmac('sha256', secret).update(`${name}|${idNumber}`).digest('base64url');
  let entry = cache.get(key);
  const cached = entry !== undefined;
  if (!cached) {
    let answer;
    try {
      answer = await main.fire(name, idNumber);
    } catch {
      total.inc({ outcome: 'error', source: 'provider' });
      return reply.code(503).send({ error: 'provider' });
    }
    const code = answer.body.resultObject.bizCode;
    const now = Date.now();
    entry = {
      code,
      outcome: outcomes[code] || 'unknown',
      provider: answer.provider || 'main',
      provider_request_id: answer.body.requestId,
      checked_at: new Date(now).toISOString(),
      expires_at: new Date(now + 24 * 3600e3).toISOString(),
    };
    cache.set(key, entry);
  }
  const took = Number(process.hrtime.bigint() - from);
  const source = cached ? 'cache' : 'provider';
  total.inc({ outcome: entry.outcome, source });
  seconds.observe({ source }, took / 1e9);
  return {
    ...entry,
    request_id: randomUUID(),
    matched: entry.code === '1',
    message: 'name and number belong together',
    cached,
    degraded: entry.provider !== 'main',
    elapsed_us: Math.round(took / 1000),
  };
});
fastify.get('/metrics', async (request, reply) => reply.type(prom.register.contentType).send(await prom.register.metrics()));

fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT), backlog: 4096 });
process.on('SIGTERM', () => process.exit(0));
