"""Groups of well-known artefacts whose jars do not name it: builds by Gradle, Ant and others that write no pom.properties.

Facts as published on Maven Central. Only artefacts whose name belongs to one group are here.
"""

from __future__ import annotations

import re

_PREFIXES = (
    (r"spring-boot(?:-.+)?", "org.springframework.boot"),
    (r"spring-security-.+", "org.springframework.security"),
    (r"spring-cloud-(?:commons|config|context|function|gateway|netflix|stream)(?:-.+)?", "org.springframework.cloud"),
    (r"spring-data-.+", "org.springframework.data"),
    (r"spring-(?:aop|aspects|beans|context|context-indexer|context-support|core|expression|instrument|jcl|jdbc|jms|messaging|orm|oxm|test|tx|web"
     r"|webflux|webmvc|webmvc-portlet|websocket)", "org.springframework"),
    (r"jackson-(?:core|databind|annotations)", "com.fasterxml.jackson.core"),
    (r"jackson-dataformat-(?:xml|yaml|cbor|smile|csv|toml|ion|avro|protobuf|properties)", "com.fasterxml.jackson.dataformat"),
    (r"log4j-(?:core|api|1\.2-api|jcl|jul|slf4j-impl|slf4j2-impl|web|layout-template-json)", "org.apache.logging.log4j"),
    (r"netty-(?:all|buffer|codec|codec-dns|codec-haproxy|codec-http|codec-http2|codec-mqtt|codec-socks|common|handler|handler-proxy|resolver"
     r"|resolver-dns|transport|transport-native-epoll|transport-native-unix-common)", "io.netty"),
    (r"jetty-(?:client|continuation|http|io|jndi|plus|security|server|servlet|servlets|util|util-ajax|webapp|xml)", "org.eclipse.jetty"),
    (r"tomcat-embed-(?:core|el|websocket|jasper)", "org.apache.tomcat.embed"),
    (r"tomcat-(?:api|catalina|coyote|jasper|jdbc|juli|tribes|util|util-scan|websocket|dbcp|jni)", "org.apache.tomcat"),
    (r"logback-(?:classic|core|access)", "ch.qos.logback"),
    (r"slf4j-(?:api|simple|nop|log4j12|jdk14|ext)|jcl-over-slf4j|jul-to-slf4j|log4j-over-slf4j", "org.slf4j"),
    (r"hibernate-(?:core|entitymanager|envers|jpamodelgen)", "org.hibernate"),
    (r"groovy-(?:all|ant|console|docgenerator|json|jmx|nio|servlet|sql|swing|templates|test|xml)", "org.codehaus.groovy"),
    (r"kotlin-(?:stdlib|stdlib-common|stdlib-jdk7|stdlib-jdk8|reflect)", "org.jetbrains.kotlin"),
    (r"(?:okhttp|mockwebserver|logging-interceptor)", "com.squareup.okhttp3"),
    (r"okio(?:-jvm)?", "com.squareup.okio"),
    (r"(?:bcprov|bcpkix|bcutil|bcpg|bcmail|bctls)-(?:jdk15on|jdk18on|jdk14|jdk15to18)", "org.bouncycastle"),
    (r"xwork-core|struts2-(?:core|.+-plugin)", "org.apache.struts"),
    (r"lucene-.+", "org.apache.lucene"),
    (r"kafka(?:-clients|-streams|_2\.\d+)", "org.apache.kafka"),
    (r"elasticsearch(?:-core|-x-content|-cli)?", "org.elasticsearch"),
    (r"micrometer-(?:core|observation|commons)", "io.micrometer"),
    (r"reactor-core", "io.projectreactor"),
    (r"reactor-netty(?:-core|-http)?", "io.projectreactor.netty"),
    (r"ant(?:-launcher|-junit|-antlr)?", "org.apache.ant"),
)  # fmt: skip
_EXACT = {
    "activation": "javax.activation", "aopalliance": "aopalliance", "asm": "org.ow2.asm", "c3p0": "com.mchange",
    "commons-beanutils": "commons-beanutils", "commons-codec": "commons-codec", "commons-collections": "commons-collections",
    "commons-collections4": "org.apache.commons", "commons-compress": "org.apache.commons", "commons-configuration": "commons-configuration",
    "commons-dbcp": "commons-dbcp", "commons-digester": "commons-digester", "commons-fileupload": "commons-fileupload",
    "commons-httpclient": "commons-httpclient", "commons-io": "commons-io", "commons-lang": "commons-lang",
    "commons-lang3": "org.apache.commons", "commons-logging": "commons-logging", "commons-net": "commons-net", "commons-pool": "commons-pool",
    "commons-text": "org.apache.commons", "dom4j": "dom4j", "fastjson": "com.alibaba", "freemarker": "org.freemarker",
    "gson": "com.google.code.gson", "guava": "com.google.guava", "guice": "com.google.inject", "h2": "com.h2database",
    "hsqldb": "org.hsqldb", "httpclient": "org.apache.httpcomponents", "httpcore": "org.apache.httpcomponents", "jdom": "org.jdom",
    "jdom2": "org.jdom", "jsch": "com.jcraft", "json": "org.json", "json-path": "com.jayway.jsonpath", "jsoup": "org.jsoup", "junit": "junit",
    "log4j": "log4j", "mail": "javax.mail", "mysql-connector-java": "mysql", "ojdbc8": "com.oracle.database.jdbc",
    "postgresql": "org.postgresql", "protobuf-java": "com.google.protobuf", "quartz": "org.quartz-scheduler", "snakeyaml": "org.yaml",
    "sqlite-jdbc": "org.xerial", "velocity": "org.apache.velocity", "woodstox-core": "com.fasterxml.woodstox", "xalan": "xalan",
    "xercesImpl": "xerces", "xml-apis": "xml-apis", "xstream": "com.thoughtworks.xstream", "zookeeper": "org.apache.zookeeper",
}  # fmt: skip
_KNOWN = tuple((re.compile(pattern), group) for pattern, group in _PREFIXES)


def group_of(artifact: str) -> str:
    """The group of the well-known `artifact`; empty when it is not known."""
    return _EXACT.get(artifact) or next((group for pattern, group in _KNOWN if pattern.fullmatch(artifact)), "")
