"""Java archives: what a jar is, and what lies in it."""

from __future__ import annotations

import io
import zipfile

import pytest
from tests.jars import make_jar, maven_jar

from shipwall.model.errors import InputError
from shipwall.supply.catalog.java import parse_java
from shipwall.supply.catalog.java_groups import group_of


def found(path: str, data: bytes) -> list[tuple[str, str]]:
    packages, skipped = parse_java(path, data)
    assert skipped == []
    return [(one.name, one.version) for one in packages]


def with_manifest(**values: str) -> bytes:
    lines = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in values.items())
    return make_jar({"META-INF/MANIFEST.MF": f"Manifest-Version: 1.0\r\n{lines}\r\nName: other\r\nImplementation-Version: 9\r\n"})


def test_pom_properties_come_first() -> None:
    data = maven_jar("org.apache.commons", "commons-compress", "1.21", {"META-INF/MANIFEST.MF": "Implementation-Version: 9\n"})
    assert found("app/lib/renamed.jar", data) == [("org.apache.commons:commons-compress", "1.21")]


def test_licence_of_the_pom() -> None:
    pom = "<project><name>x</name><licenses><license><name>Apache License, Version 2.0</name></license><license><name>MIT</name>"
    data = maven_jar("g", "a", "1", {"META-INF/maven/g/a/pom.xml": pom + "</license></licenses></project>"})
    (package,), _ = parse_java("a.jar", data)
    assert package.license == "Apache-2.0 OR MIT"


def test_a_pom_without_properties() -> None:
    pom = "<project><parent><version>7</version></parent><artifactId>a</artifactId><dependencies><version>3</version></dependencies>"
    assert found("x.jar", make_jar({"META-INF/maven/g/a/pom.xml": pom})) == [("g:a", "7")]
    own = "<project><parent><version>7</version></parent><version>8</version></project>"
    assert found("x.jar", make_jar({"META-INF/maven/g/a/pom.xml": own})) == [("g:a", "8")]
    unknown = "<project><version>${revision}</version></project>"
    assert found("x.jar", make_jar({"META-INF/maven/g/a/pom.xml": unknown})) == []


def test_a_shaded_jar_is_itself_and_its_parts() -> None:
    parts = {
        "META-INF/maven/com.google.guava/guava/pom.properties": "groupId=com.google.guava\nartifactId=guava\nversion=14.0.1",
        "META-INF/maven/org.apache.hive/hive-exec/pom.properties": "groupId=org.apache.hive\nartifactId=hive-exec\nversion=2.3.9",
    }
    assert sorted(found("jars/hive-exec-2.3.9-core.jar", make_jar(parts))) == [
        ("com.google.guava:guava", "14.0.1"), ("org.apache.hive:hive-exec", "2.3.9"),
    ]  # fmt: skip
    parts["META-INF/MANIFEST.MF"] = (
        "Implementation-Title: tool\nImplementation-Version: 3.1\nImplementation-Vendor-Id: com.example"
    )
    assert ("com.example:tool", "3.1") in found("opt/tool.jar", make_jar(parts))


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("spring-beans-5.3.15.jar", {"Implementation_Title": "spring-beans", "Implementation_Version": "5.3.15"},
         ("org.springframework:spring-beans", "5.3.15")),
        ("jackson-databind-2.13.0.jar", {"Bundle_SymbolicName": "com.fasterxml.jackson.core.jackson-databind;singleton:=true"},
         ("com.fasterxml.jackson.core:jackson-databind", "2.13.0")),
        ("lib/tool.jar", {"Implementation_Title": "tool", "Implementation_Version": "1.2", "Implementation_Vendor_Id": "com.example.x"},
         ("com.example.x:tool", "1.2")),
        ("plugins/junit.jpi", {"Short_Name": "junit", "Group_Id": "org.jenkins-ci.plugins", "Implementation_Version": "1.48"},
         ("org.jenkins-ci.plugins:junit", "1.48")),
        ("lib/catalina.jar", {"Implementation_Title": "Apache Tomcat", "Implementation_Version": "9.0.1",
                              "Bundle_SymbolicName": "org.apache.tomcat-catalina"}, ("org.apache.tomcat:tomcat-catalina", "9.0.1")),
        ("lib/vendor-2.0.jar", {"Implementation_Vendor_Id": "A Company", "Implementation_Title": "A Title"}, ("vendor", "2.0")),
        ("lib/log4j-core-2.17.1.jar", {}, ("org.apache.logging.log4j:log4j-core", "2.17.1")),
    ],
)  # fmt: skip
def test_manifest_and_file_name(path: str, values: dict[str, str], expected: tuple[str, str]) -> None:
    assert found(path, with_manifest(**values)) == [expected]


def test_one_part_inside_of_another_artefact() -> None:
    part = {"META-INF/maven/g/part/pom.properties": "groupId=g\nartifactId=part\nversion=1"}
    assert found("lib/whole-2.0.jar", make_jar(part)) == [("g:part", "1"), ("whole", "2.0")]
    assert found("lib/g.part-1.jar", make_jar(part)) == [("g:part", "1")]
    assert found("lib/app.jar", make_jar(part)) == [("g:part", "1")]


def test_a_jar_that_says_nothing_is_nothing() -> None:
    assert found("lib/main.jar", make_jar({"A.class": b""})) == []
    assert found("lib/main.jar", with_manifest(Main_Class="A")) == []


def test_continued_manifest_lines() -> None:
    text = "Bundle-SymbolicName: com.example.very\r\n .long.name\r\nImplementation-Title: name\r\nImplementation-Version: 1\r\n"
    assert found("x.jar", make_jar({"META-INF/MANIFEST.MF": text})) == [("com.example.very.long:name", "1")]


def test_nested_archives_and_their_evidence() -> None:
    inner = maven_jar("org.springframework", "spring-core", "5.3.22")
    war = maven_jar("org.example", "web", "1", {"WEB-INF/lib/spring-core-5.3.22.jar": inner})
    ear = make_jar({"web.war": war}, zipfile.ZIP_STORED)
    packages, skipped = parse_java("opt/app.ear", ear)
    assert skipped == []
    assert [(one.name, one.evidence) for one in packages] == [
        ("org.example:web", "/opt/app.ear!/web.war"),
        ("org.springframework:spring-core", "/opt/app.ear!/web.war!/WEB-INF/lib/spring-core-5.3.22.jar"),
    ]


def test_a_script_before_the_archive() -> None:
    data = maven_jar("org.example", "boot", "2.7")
    assert found("app.jar", b"#!/bin/sh\nexec java -jar $0\n" + data) == [("org.example:boot", "2.7")]


def test_sixty_four_bit_archives() -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w") as archive,
        archive.open("META-INF/maven/g/a/pom.properties", "w", force_zip64=True) as member,
    ):
        member.write(b"groupId=g\nartifactId=a\nversion=1\n")
    assert found("a.jar", buffer.getvalue()) == [("g:a", "1")]


def test_an_archive_is_read_to_its_end_whatever_it_says_of_its_entries() -> None:
    """Java goes by the directory's size; the number of entries is 0 here, and modulo 65,536 in large archives of the old form."""
    data = bytearray(maven_jar("g", "a", "1"))
    at = data.rfind(b"PK\x05\x06")
    data[at + 8 : at + 12] = bytes(4)
    assert found("a.jar", bytes(data)) == [("g:a", "1")]


def test_bombs_are_told_and_end() -> None:
    bomb = make_jar({"big.jar": bytes(200 << 20)})
    packages, (skipped,) = parse_java("bomb.jar", bomb)
    assert packages == []
    assert skipped.what == "/bomb.jar!/big.jar"
    assert "inflates to more than" in skipped.reason
    nested = maven_jar("g", "a", "1")
    for _ in range(10):
        nested = make_jar({"n.jar": nested})
    packages, (skipped,) = parse_java("deep.jar", nested)
    assert "nested deeper" in skipped.reason


def test_artefacts_beyond_the_bound_are_told() -> None:
    poms = {f"META-INF/maven/g/a{number}/pom.properties": "" for number in range(4999)}
    assert found("a.jar", maven_jar("g", "a", "1", poms)) == [("g:a", "1")]
    _, (told,) = parse_java("a.jar", maven_jar("g", "a", "1", poms | {"META-INF/maven/g/b/pom.properties": ""}))
    assert told.reason == "describes more than 5000 artefacts; the rest is not read"


def test_damaged_members_do_not_hide_the_others() -> None:
    data = bytearray(make_jar({"a.jar": maven_jar("g", "a", "1"), "b.jar": maven_jar("g", "b", "1")}))
    at = data.find(b"a.jar") + 10
    data[at : at + 40] = b"\xff" * 40
    packages, (skipped,) = parse_java("x.war", bytes(data))
    assert [one.name for one in packages] == ["g:b"]
    assert skipped.what == "/x.war!/a.jar"


def test_what_is_no_archive() -> None:
    for data in (b"", b"PK", b"PK\x05\x06" + b"\xff" * 18):
        with pytest.raises(InputError):
            parse_java("a.jar", data)


def test_groups() -> None:
    assert group_of("spring-boot-autoconfigure") == "org.springframework.boot"
    assert group_of("commons-io") == "commons-io"
    assert group_of("netty-codec-http2") == "io.netty"
    assert group_of("spring-something-of-mine") == ""
