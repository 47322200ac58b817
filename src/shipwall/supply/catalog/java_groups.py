"""Groups of well-known artefacts whose jars do not name it: builds by Gradle, Ant and others that write no pom.properties.

Facts as published on Maven Central. Only artefacts whose name belongs to one group are here.
"""

from __future__ import annotations

import re
from functools import cache

# Group, then the artefacts of it: `prefix-(a|b)` stands for several, `*` for any rest.
_TEXT = """
ch.qos.logback: logback-(classic|core|access)
com.alibaba: fastjson
com.fasterxml.jackson.core: jackson-(core|databind|annotations)
com.fasterxml.jackson.dataformat: jackson-dataformat-(xml|yaml|cbor|smile|csv|toml|ion|avro|protobuf|properties)
com.fasterxml.woodstox: woodstox-core
com.google.code.gson: gson
com.google.guava: guava
com.google.inject: guice
com.google.protobuf: protobuf-java
com.h2database: h2
com.jayway.jsonpath: json-path
com.oracle.database.jdbc: ojdbc(8|10|11)
com.squareup.okio: okio okio-jvm
com.thoughtworks.xstream: xstream
commons-beanutils: commons-beanutils
commons-codec: commons-codec
commons-collections: commons-collections
commons-configuration: commons-configuration
commons-dbcp: commons-dbcp
commons-digester: commons-digester
commons-fileupload: commons-fileupload
commons-httpclient: commons-httpclient
commons-io: commons-io
commons-lang: commons-lang
commons-logging: commons-logging
commons-net: commons-net
commons-pool: commons-pool
dom4j: dom4j
io.micrometer: micrometer-(core|observation|commons)
io.netty: netty-(all|buffer|codec|codec-dns|codec-haproxy|codec-http|codec-http2|codec-mqtt|codec-socks|common|handler|handler-proxy)
io.netty: netty-(resolver|resolver-dns|transport|transport-native-epoll|transport-native-unix-common)
io.projectreactor: reactor-core
io.projectreactor.netty: reactor-netty(|-core|-http)
javax.activation: activation
javax.mail: mail
junit: junit
log4j: log4j
mysql: mysql-connector-java
org.apache.ant: ant(|-launcher|-junit|-antlr)
org.apache.commons: commons-(collections4|compress|lang3|text|configuration2|dbcp2|pool2|csv|math3|jexl3|vfs2)
org.apache.httpcomponents: httpclient httpcore httpmime
org.apache.kafka: kafka-(clients|streams)
org.apache.logging.log4j: log4j-(core|api|1.2-api|jcl|jul|slf4j-impl|slf4j2-impl|web|layout-template-json)
org.apache.lucene: lucene-*
org.apache.struts: struts2-(core|json-plugin|rest-plugin|spring-plugin|struts1-plugin|convention-plugin)
org.apache.tomcat: tomcat-(api|catalina|coyote|jasper|jdbc|juli|tribes|util|util-scan|websocket|dbcp|jni)
org.apache.tomcat.embed: tomcat-embed-(core|el|websocket|jasper)
org.apache.zookeeper: zookeeper
org.bouncycastle: bcprov-jdk(14|15on|15to18|18on) bcpkix-jdk(14|15on|15to18|18on) bcutil-jdk(15on|15to18|18on) bcpg-jdk(15on|15to18|18on)
org.eclipse.jetty: jetty-(client|continuation|http|io|jndi|plus|security|server|servlet|servlets|util|util-ajax|webapp|xml)
org.elasticsearch: elasticsearch(|-core|-x-content|-cli)
org.freemarker: freemarker
org.hsqldb: hsqldb
org.jetbrains.kotlin: kotlin-(stdlib|stdlib-common|stdlib-jdk7|stdlib-jdk8|reflect)
org.json: json
org.jsoup: jsoup
org.postgresql: postgresql
org.slf4j: slf4j-(api|simple|nop|log4j12|jdk14|ext) jcl-over-slf4j jul-to-slf4j log4j-over-slf4j
org.springframework: spring-(aop|aspects|beans|context|context-indexer|context-support|core|expression|instrument|jcl|jdbc|jms|messaging)
org.springframework: spring-(orm|oxm|test|tx|web|webflux|webmvc|webmvc-portlet|websocket)
org.springframework.boot: spring-boot spring-boot-*
org.springframework.cloud: spring-cloud-(commons|context) spring-cloud-(config|function|gateway|netflix|stream)-*
org.springframework.data: spring-data-*
org.springframework.security: spring-security-*
org.xerial: sqlite-jdbc
org.yaml: snakeyaml
xalan: xalan
xerces: xercesImpl
xml-apis: xml-apis
"""


@cache
def _compile() -> tuple[re.Pattern[str], tuple[str, ...]]:
    """The pattern of all artefacts, one group of it for each of the groups that follow. Made when the first jar needs it."""
    by_group: dict[str, list[str]] = {}
    for line in _TEXT.strip().splitlines():
        group, _, patterns = line.partition(": ")
        by_group.setdefault(group, []).extend(pattern.replace(".", r"\.").replace("*", ".+") for pattern in patterns.split())
    known = "|".join("(" + "|".join(one.replace("(", "(?:") for one in found) + ")" for found in by_group.values())
    return re.compile(known), tuple(by_group)


def group_of(artifact: str) -> str:
    """The group of the well-known `artifact`; empty when it is not known."""
    known, groups = _compile()
    match = known.fullmatch(artifact)
    return groups[match.lastindex - 1] if match is not None and match.lastindex else ""
